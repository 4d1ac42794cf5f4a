#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/base/io.h"
#include "sim/exec/log_code.h"

struct log_reader {
    char *name;
    unsigned char *own; /* the file's bytes, when this read them */
    const unsigned char *bytes;
    size_t n, at, n_header;
    struct log_head head;
    struct arena arena; /* of prompts */
    int32_t *scratch;   /* of all other arrays */
    size_t cap_scratch;
    int64_t n_records, event_ns, host_ns;
    uint64_t actions_hash;
    uint32_t crc;
};

/* ---- records -------------------------------------------------------------------------------- */

struct raw {
    uint8_t type;
    size_t offset, payload, n; /* offset of the record and of its payload */
};

static int corrupt(const struct log_reader *r, size_t offset, const char *why, struct err *e)
{
    return err_at(e, ERR_CORRUPT, r->name, 0, 0,
                  "record %" PRId64 " at byte %zu: %s; record the run again", r->n_records, offset,
                  why);
}

/* The number at `at`; false when the file ends before it does. */
static bool get_length(const struct log_reader *r, size_t *at, uint64_t *out)
{
    struct log_cursor c = {.at = r->bytes + *at, .end = r->bytes + r->n};
    *out = log_get_u(&c);
    *at = (size_t)(c.at - r->bytes);
    return !c.why;
}

static int next_raw(struct log_reader *r, struct raw *out, struct err *e)
{
    static const char ends[] = "the file ends here, before its trailer: the run was killed, or the "
                               "file was cut off";
    uint64_t type, n;
    size_t at = r->at;
    *out = (struct raw){.offset = at};
    if (at == r->n)
        return corrupt(r, at, ends, e);
    if (!get_length(r, &at, &type) || !get_length(r, &at, &n) || n > r->n - at || r->n - at - n < 4)
        return corrupt(r, out->offset, "the file ends inside this record, or its length is wrong",
                       e);
    out->payload = at;
    out->n = (size_t)n;
    at += out->n;
    uint32_t crc = hash_crc32(r->crc, r->bytes + out->offset, at - out->offset), want = 0;
    for (size_t i = 0; i < 4; i++)
        want |= (uint32_t)r->bytes[at + i] << (8 * i);
    if (crc != want)
        return corrupt(r, out->offset, "its CRC-32 is wrong: the file is damaged here", e);
    if (type < LOG_BELIEF || type > LOG_TRAILER)
        return corrupt(r, out->offset, "it is of no known type", e);
    out->type = (uint8_t)type;
    r->crc = crc;
    r->at = at + 4;
    return ERR_OK;
}

/* A cursor over the payload with room for its arrays: in the arena when they must stay. */
static int open_cursor(struct log_reader *r, const struct raw *raw, bool stays,
                       struct log_cursor *out, struct err *e)
{
    *out = (struct log_cursor){.at = r->bytes + raw->payload};
    out->end = out->at + raw->n;
    if (stays) {
        out->pool = arena_alloc(&r->arena, raw->n + 1, sizeof *out->pool);
    } else if (raw->n > r->cap_scratch || !r->scratch) {
        free(r->scratch);
        r->cap_scratch = raw->n < 1024 ? 1024 : raw->n;
        r->scratch = malloc(r->cap_scratch * sizeof *r->scratch);
    }
    if (!stays)
        out->pool = r->scratch;
    return out->pool ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for a record of %s", r->name);
}

static int close_cursor(struct log_reader *r, const struct raw *raw, const struct log_cursor *c,
                        struct err *e)
{
    if (c->why)
        return corrupt(r, raw->offset, c->why, e);
    if (c->at != c->end)
        return corrupt(r, raw->offset, "its payload is longer than what it holds", e);
    r->n_records++;
    return ERR_OK;
}

/* Sums of times that a hostile file chose. */
static int64_t add_ns(int64_t a, int64_t b)
{
    if (b > 0 && a > INT64_MAX - b)
        return INT64_MAX;
    if (b < 0 && a < INT64_MIN - b)
        return INT64_MIN;
    return a + b;
}

static void take_trailer(struct log_cursor *c, struct log_record *out)
{
    out->trailer.n_records = log_get_s(c);
    out->trailer.actions_hash = log_get_u64(c);
}

/* What the trailer promises, against what was read. */
static int check_trailer(struct log_reader *r, const struct log_record *t, struct err *e)
{
    if (t->trailer.n_records != t->number)
        return corrupt(r, t->offset, "the trailer counts other records than the file has", e);
    if (t->trailer.actions_hash != r->actions_hash)
        return corrupt(r, t->offset, "the trailer's hash is not that of the actions", e);
    if (r->at != r->n)
        return corrupt(r, r->at, "bytes follow the trailer", e);
    return ERR_OK;
}

static bool is_arrival(const struct log_reader *r, const struct raw *raw)
{
    return raw->type == LOG_EVENT && raw->n && r->bytes[raw->payload] == EV_ARRIVE;
}

int log_next(struct log_reader *r, struct log_record *out, struct err *e)
{
    struct raw raw;
    struct log_cursor c;
    int rc = next_raw(r, &raw, e);
    if (!rc && raw.type == LOG_BELIEF)
        rc = corrupt(r, raw.offset, "a second belief", e);
    if (!rc)
        rc = open_cursor(r, &raw, is_arrival(r, &raw), &c, e);
    if (rc)
        return rc;
    memset(out, 0, sizeof *out);
    out->type = raw.type;
    out->number = r->n_records;
    out->offset = raw.offset;
    out->payload = r->bytes + raw.payload;
    out->n_payload = raw.n;
    switch (raw.type) {
    case LOG_EVENT:
        log_get_event(&c, r->event_ns, &out->event, &out->due_ns);
        r->event_ns = out->event.time_ns;
        r->host_ns = 0;
        break;
    case LOG_HOST:
        out->host.host_ns = log_get_s(&c);
        out->host.work.actions = log_get_s(&c);
        out->host.work.submits = log_get_s(&c);
        r->host_ns = out->host.host_ns;
        break;
    case LOG_ACTION:
        log_get_action(&c, &out->action);
        break;
    default:
        take_trailer(&c, out);
        break;
    }
    out->time_ns = raw.type <= LOG_HOST ? r->event_ns : add_ns(r->event_ns, r->host_ns);
    rc = close_cursor(r, &raw, &c, e);
    if (!rc && raw.type == LOG_ACTION)
        r->actions_hash = action_hash(r->actions_hash, &out->action);
    return rc || raw.type != LOG_TRAILER ? rc : check_trailer(r, out, e);
}

/* ---- opening -------------------------------------------------------------------------------- */

static int read_belief(struct log_reader *r, struct err *e)
{
    struct raw raw;
    struct log_cursor c;
    struct belief *b = &r->head.setup.belief;
    int rc = next_raw(r, &raw, e);
    if (!rc && raw.type != LOG_BELIEF)
        rc = corrupt(r, raw.offset, "expected the belief, which comes first", e);
    if (!rc)
        rc = open_cursor(r, &raw, false, &c, e);
    if (rc)
        return rc;
    log_get_belief(&c, b);
    rc = close_cursor(r, &raw, &c, e);
    if (!rc && belief_hash(b) != r->head.belief_hash)
        rc = corrupt(r, raw.offset, "the belief is not the one whose hash the header gives", e);
    return rc;
}

static int read_header(struct log_reader *r, struct err *e)
{
    size_t most = r->n < LOG_MAX_HEADER ? r->n : LOG_MAX_HEADER;
    int rc = log_head_magic(r->name, (const char *)r->bytes, r->n, e);
    if (rc)
        return rc;
    for (size_t i = 0; i + 1 < most && !r->n_header; i++)
        if (r->bytes[i] == '\n' && r->bytes[i + 1] == '\n')
            r->n_header = i + 1;
    if (!r->n_header)
        return err_at(e, ERR_CORRUPT, r->name, 0, 0,
                      "bytes 0 to %zu hold no empty line, which ends a log's header: the file was "
                      "cut off or is damaged; record the run again",
                      most);
    rc = log_head_parse(r->name, (const char *)r->bytes, r->n_header, &r->head, e);
    r->at = r->n_header + 1;
    r->crc = r->head.crc;
    return rc ? rc : read_belief(r, e);
}

static int create(const char *name, struct log_reader **out, struct err *e)
{
    struct log_reader *r = calloc(1, sizeof *r);
    size_t n = strlen(name) + 1;
    if (!r || !(r->name = malloc(n))) {
        free(r);
        return err_set(e, ERR_NOMEM, "out of memory for the log %s", name);
    }
    memcpy(r->name, name, n);
    arena_init(&r->arena);
    r->actions_hash = hash_mix(0);
    *out = r;
    return ERR_OK;
}

int log_open_bytes(const char *name, const void *bytes, size_t n, struct log_reader **out,
                   struct err *e)
{
    struct log_reader *r;
    int rc = create(name, &r, e);
    if (rc)
        return rc;
    r->bytes = bytes;
    r->n = n;
    rc = read_header(r, e);
    if (rc)
        log_close_reader(r);
    else
        *out = r;
    return rc;
}

/* All of a file: its size is what can be read. */
static int read_all(struct log_reader *r, FILE *f, struct err *e)
{
    size_t cap = 1 << 16;
    for (;;) {
        unsigned char *more = realloc(r->own, cap);
        if (!more)
            return err_set(e, ERR_NOMEM, "out of memory for the log %s", r->name);
        r->own = more;
        r->n += fread(r->own + r->n, 1, cap - r->n, f);
        if (ferror(f))
            return err_at(e, ERR_IO, r->name, 0, 0, "cannot read the log: %s", err_system(errno));
        if (r->n < cap)
            break;
        cap *= 2;
    }
    r->bytes = r->own;
    return ERR_OK;
}

int log_open(const char *path, struct log_reader **out, struct err *e)
{
    struct log_reader *r;
    int rc = create(path, &r, e);
    if (rc)
        return rc;
    FILE *f;
    rc = io_open(path, &f, e);
    if (!rc) {
        rc = read_all(r, f, e);
        fclose(f);
    }
    if (!rc)
        rc = read_header(r, e);
    if (rc)
        log_close_reader(r);
    else
        *out = r;
    return rc;
}

void log_close_reader(struct log_reader *r)
{
    if (!r)
        return;
    arena_fini(&r->arena);
    free(r->scratch);
    free(r->own);
    free(r->name);
    free(r);
}

const char *log_header(const struct log_reader *r, const char *key)
{
    const struct log_line *l = log_head_find(&r->head, key);
    return l ? l->value : NULL;
}

const char *log_header_text(const struct log_reader *r, size_t *n)
{
    *n = r->n_header;
    return (const char *)r->bytes;
}

/* ---- the run -------------------------------------------------------------------------------- */

/* Sets the parameters from the words of "name a=1 b=2" after the name: each of the specification's,
 * each once. */
static int set_params(struct log_reader *r, const struct log_line *l, const struct param *spec,
                      int64_t *value, struct err *e)
{
    bool given[PARAM_MAX] = {false};
    const char *s = l->value + strcspn(l->value, " ");
    while (*s) {
        char word[128];
        size_t n = strcspn(++s, " ");
        snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), s);
        char *equals = strchr(word, '=');
        if (n >= sizeof word || !equals)
            return err_at(e, ERR_SCHEMA, r->name, l->line, 0,
                          "'%.60s' in %s: expected parameter=value", word, l->key);
        *equals = 0;
        struct err why = {0};
        if (param_set(spec, word, equals + 1, value, &why))
            return err_at(e, ERR_SCHEMA, r->name, l->line, 0, "%s: %s", l->key, why.msg);
        int32_t i = param_find(spec, word);
        if (given[i])
            return err_at(e, ERR_SCHEMA, r->name, l->line, 0, "%s: parameter %s is given twice",
                          l->key, word);
        given[i] = true;
        s += n;
    }
    for (int32_t i = 0, n = param_count(spec); i < n; i++)
        if (!given[i])
            return err_at(e, ERR_SCHEMA, r->name, l->line, 0,
                          "%s: parameter %s is missing: the log was written by a version that did "
                          "not have it; record the run again",
                          l->key, spec[i].name);
    return ERR_OK;
}

static bool names(const char *value, const char *name)
{
    size_t n = strcspn(value, " ");
    return strlen(name) == n && !strncmp(value, name, n);
}

static int no_type(struct log_reader *r, const struct log_line *l, const char *what, struct err *e)
{
    return err_at(e, ERR_UNSUPPORTED, r->name, l->line, 0,
                  "this program has no %s '%.*s': see tandem list", what,
                  (int)strcspn(l->value, " "), l->value);
}

static int find_policy(struct log_reader *r, const struct log_types *types, struct run_setup *setup,
                       struct err *e)
{
    const struct log_line *l = log_head_find(&r->head, "policy");
    const struct policy_type *const *lists[] = {types ? types->policy : NULL, policy_registry};
    for (int i = 0; i < 2; i++)
        for (const struct policy_type *const *p = lists[i]; p && *p && !setup->policy; p++)
            if (names(l->value, (*p)->name))
                setup->policy = *p;
    return setup->policy ? set_params(r, l, setup->policy->params, setup->policy_param, e)
                         : no_type(r, l, "policy", e);
}

static int find_drafter(struct log_reader *r, const struct log_types *types,
                        const struct log_line *l, struct run_drafter *out, struct err *e)
{
    const struct drafter_type *const *lists[] = {types ? types->drafter : NULL, draft_registry};
    for (int i = 0; i < 2; i++)
        for (const struct drafter_type *const *p = lists[i]; p && *p && !out->type; p++)
            if (names(l->value, (*p)->name))
                out->type = *p;
    return out->type ? set_params(r, l, out->type->params, out->param, e)
                     : no_type(r, l, "drafter", e);
}

void log_limits(const struct log_reader *r, struct run_setup *setup, struct exec_caps *caps)
{
    *setup = r->head.setup;
    *caps = r->head.caps;
}

int log_setup(struct log_reader *r, const struct log_types *types, struct run_setup *setup,
              struct exec_caps *caps, struct err *e)
{
    log_limits(r, setup, caps);
    int rc = find_policy(r, types, setup, e);
    for (int32_t i = 0; !rc && i < EXEC_MAX_DRAFTERS; i++) {
        char key[24];
        snprintf(key, sizeof key, "drafter%" PRId32, i);
        const struct log_line *l = log_head_find(&r->head, key);
        if (!l)
            continue;
        if (i != setup->n_drafters)
            return err_at(e, ERR_SCHEMA, r->name, l->line, 0, "%s without drafter%" PRId32, key,
                          setup->n_drafters);
        rc = find_drafter(r, types, l, &setup->drafter[setup->n_drafters++], e);
    }
    return rc;
}
