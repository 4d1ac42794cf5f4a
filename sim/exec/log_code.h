/* The bytes of a log's records: shared by its writer, its reader and the executors that compare.
 * Private to sim/exec. */
#ifndef TANDEM_EXEC_LOG_CODE_H
#define TANDEM_EXEC_LOG_CODE_H

#include "sim/exec/log.h"

/* ---- encoding ------------------------------------------------------------------------------- */

/* A byte buffer that grows; `code` becomes ERR_NOMEM when it cannot, ERR_POLICY for a job of no
 * kind. */
struct log_bytes {
    unsigned char *at;
    size_t n, cap;
    int code;
};

void log_bytes_fini(struct log_bytes *b);
void log_put_u(struct log_bytes *b, uint64_t v);   /* LEB128 */
void log_put_s(struct log_bytes *b, int64_t v);    /* the same, zigzag-coded */
void log_put_u64(struct log_bytes *b, uint64_t v); /* eight bytes, lowest first */
void log_put_belief(struct log_bytes *b, const struct belief *belief);
void log_put_event(struct log_bytes *b, const struct event *ev, int64_t due_ns, int64_t base_ns);

/* One action has one encoding: equal bytes mean equal actions, arrays included. An array of no
 * items is encoded as one that is absent. */
void log_put_action(struct log_bytes *b, const struct action *a);

/* ---- decoding ------------------------------------------------------------------------------- */

/* What is left of a payload. The first bad item sets `why` and everything after it reads as 0. */
struct log_cursor {
    const unsigned char *at, *end;
    int32_t *pool; /* room for one word per byte of payload, which no payload can exceed */
    const char *why;
};

uint64_t log_get_u(struct log_cursor *c);
int64_t log_get_s(struct log_cursor *c);
uint64_t log_get_u64(struct log_cursor *c);
void log_get_belief(struct log_cursor *c, struct belief *out);
void log_get_event(struct log_cursor *c, int64_t base_ns, struct event *out, int64_t *due_ns);
void log_get_action(struct log_cursor *c, struct action *out);

/* ---- header --------------------------------------------------------------------------------- */

enum { LOG_MAX_LINES = 40 };

struct log_line {
    const char *key, *value; /* in log_head.text */
    int line;                /* 1-based */
};

/* A header, parsed. The numbers are in `setup` and `caps`; policy, drafters and the belief are not:
 * log_setup finds them. */
struct log_head {
    char text[LOG_MAX_HEADER]; /* lines cut into strings */
    int32_t n_lines;
    struct log_line line[LOG_MAX_LINES];
    struct run_setup setup;
    struct exec_caps caps;
    uint64_t belief_hash;
    uint32_t crc; /* of all lines but the last */
};

/* ERR_CORRUPT unless the n bytes that a file starts with can be the start of a log. */
int log_head_magic(const char *name, const char *bytes, size_t n, struct err *e);

/* Parses n bytes without the empty line. `name` is for messages. */
int log_head_parse(const char *name, const char *bytes, size_t n, struct log_head *out,
                   struct err *e);

/* The line of `key`, or NULL. */
const struct log_line *log_head_find(const struct log_head *h, const char *key);

/* Name and bit of each of enum exec_feature; ends with a NULL name. */
struct log_feature {
    const char *name;
    uint32_t bit;
};
extern const struct log_feature log_features[];

#endif
