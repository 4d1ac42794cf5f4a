/* JSON (RFC 8259): a strict pull reader and a deterministic writer.
 *
 * Own code because tandem-device links the C library and libyaml only. Numbers are read and written
 * by the C library in the "C" locale, which no program of ours leaves. */
#ifndef TANDEM_BASE_JSON_H
#define TANDEM_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/base/err.h"

enum { JSON_MAX_DEPTH = 64 };

/* Length of the longest prefix of s[0 .. n) that is valid UTF-8 (no overlong forms, no surrogates,
 * at most U+10FFFF); n when all of it is. */
size_t json_utf8(const char *s, size_t n);

/* ---- reading -------------------------------------------------------------------------------- */

enum json_type {
    JSON_END, /* of the text: nothing but white space is left */
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_KEY, /* the value follows */
    JSON_STRING,
    JSON_INT,    /* no fraction, no exponent, fits int64_t */
    JSON_DOUBLE, /* any other number; finite */
    JSON_BOOL,
    JSON_NULL
};

struct json_token {
    enum json_type type;
    int line, col; /* where it starts, 1-based; columns count characters */
    const char
        *text; /* KEY, STRING: decoded UTF-8 with a NUL after it; valid until the next call */
    size_t n;  /* bytes of text; the text itself may hold NULs, written \u0000 */
    int64_t i; /* INT */
    double d;  /* INT, DOUBLE */
    bool b;    /* BOOL */
};

struct json_reader {
    const char *name; /* for messages */
    const char *data;
    size_t n, at;
    int line, col;
    int depth;
    uint8_t state;
    bool in_object[JSON_MAX_DEPTH];
    char *buf; /* the token's text */
    size_t cap;
};

/* Reads one value from data[0 .. n), which like `name` must outlive the reader. `line` is the
 * number of the first line. Frees nothing of the caller's; json_fini frees the reader's own buffer.
 */
void json_init(struct json_reader *r, const char *name, const char *data, size_t n, int line);
void json_fini(struct json_reader *r);

/* The next token. ERR_PARSE: not JSON, or not UTF-8; ERR_RANGE: a number beyond its type;
 * ERR_LIMIT: nested deeper than JSON_MAX_DEPTH; ERR_NOMEM. The record names file:line:col. After an
 * error the reader is at no defined place. */
int json_next(struct json_reader *r, struct json_token *t, struct err *e);

/* json_next, and ERR_SCHEMA unless the token is of `type` (DOUBLE takes an INT too). `what` names
 * the value in the message: "'id'". A STRING or KEY that holds a NUL is ERR_SCHEMA here. */
int json_expect(struct json_reader *r, enum json_type type, const char *what, struct json_token *t,
                struct err *e);

/* ERR_SCHEMA at the token that json_next gave last: "what is VALUE: expected EXPECTED". */
int json_wrong(const struct json_reader *r, const struct json_token *t, const char *what,
               const char *expected, struct err *e);

/* Skips one whole value; `t` gets its first token. */
int json_skip(struct json_reader *r, struct json_token *t, struct err *e);

/* The next key of an object whose keys are known: *index becomes its place in the NULL-terminated
 * list `keys` (at most 32), or -1 at the object's end. Sets the key's bit in *seen, which starts as
 * 0. ERR_SCHEMA for a key that is unknown or comes twice, and at the end for one of `required`
 * (bits) that is missing. */
int json_member(struct json_reader *r, const char *const *keys, uint32_t required, uint32_t *seen,
                int *index, struct err *e);

/* Lines of a JSON Lines text, each read by its own json_reader. Lines of white space are passed
 * over. */
struct json_lines {
    const char *name, *data;
    size_t n, at;
    int line; /* of the line last returned */
};

void json_lines_init(struct json_lines *l, const char *name, const char *data, size_t n);

/* Initialises r on the next line; false at the end. The caller ends it with json_fini. */
bool json_lines_next(struct json_lines *l, struct json_reader *r);

/* ---- writing -------------------------------------------------------------------------------- */

/* Writes one value to a FILE or a growing buffer. The bytes depend on the calls alone: members in
 * the order of the calls, doubles with the fewest of 15 to 17 digits that read back to the same
 * double, infinities and NaN as null, bytes that are not UTF-8 as U+FFFD. Calls in a wrong order
 * are bugs and assert. */
struct json_writer {
    FILE *file; /* NULL: the buffer */
    char *data; /* [n], NUL after it; owned by the writer */
    size_t n, cap;
    int depth, indent;
    bool first;
    bool in_object[JSON_MAX_DEPTH];
    int code;
};

/* indent: spaces per level; 0 puts all on one line. */
void json_writer_init(struct json_writer *w, FILE *file, int indent);

/* Frees the buffer. */
void json_writer_fini(struct json_writer *w);

/* Puts a line feed after the value, opens the writer for the next one and returns the first error
 * since the last call: ERR_IO, ERR_NOMEM or ERR_OK. */
int json_line(struct json_writer *w);

/* `key` is NULL outside objects. */
void json_object(struct json_writer *w, const char *key);
void json_array(struct json_writer *w, const char *key);
void json_close(struct json_writer *w); /* the innermost object or array */
void json_string(struct json_writer *w, const char *key, const char *s);
void json_string_n(struct json_writer *w, const char *key, const char *s, size_t n);
void json_int(struct json_writer *w, const char *key, int64_t v);
void json_double(struct json_writer *w, const char *key, double v);
void json_bool(struct json_writer *w, const char *key, bool v);
void json_null(struct json_writer *w, const char *key);

#endif
