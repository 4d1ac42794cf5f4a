/* The readable header of a log: strict, because a field that is guessed is a run that is guessed.
 */
#include "sim/exec/log_code.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/base/json.h"

const struct log_feature log_features[] = {
    {"trees", EXEC_TREES},   {"blocks", EXEC_BLOCKS},         {"graphs", EXEC_GRAPHS},
    {"copies", EXEC_COPIES}, {"calibrates", EXEC_CALIBRATES}, {NULL, 0},
};

static const char *const needed[] = {
    "tandem-log",   "executor", "version",      "model",   "device",       "roles",
    "numerics",     "policy",   "n_vocab",      "eos",     "seed",         "features",
    "max_requests", "blocks",   "max_rows",     "max_ctx", "max_seqs",     "max_jobs",
    "max_topk",     "n_slots",  "graph_widths", "belief",  "header_crc32", NULL,
};
static const char *const optional[] = {"drafter0", "drafter1",      "drafter2",
                                       "drafter3", "graph_weights", NULL};

static bool listed(const char *const *list, const char *key)
{
    for (; *list; list++)
        if (!strcmp(*list, key))
            return true;
    return false;
}

const struct log_line *log_head_find(const struct log_head *h, const char *key)
{
    for (int32_t i = 0; i < h->n_lines; i++)
        if (!strcmp(h->line[i].key, key))
            return &h->line[i];
    return NULL;
}

/* ---- text ----------------------------------------------------------------------------------- */

static int check_text(const char *name, const char *bytes, size_t n, struct err *e)
{
    size_t good = json_utf8(bytes, n);
    int line = 1;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (i == good || (c < 0x20 && c != '\n') || c == 0x7f)
            return err_at(e, ERR_SCHEMA, name, line, 0,
                          "byte %zu of the header is 0x%02x: expected printable UTF-8", i, c);
        line += c == '\n';
    }
    return ERR_OK;
}

static int split(const char *name, size_t n, struct log_head *h, struct err *e)
{
    char *at = h->text, *end = h->text + n;
    for (int line = 1; at < end; line++) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop)
            return err_at(e, ERR_SCHEMA, name, line, 0, "the header's last line has no end");
        *stop = 0;
        char *colon = strstr(at, ": ");
        if (!colon)
            return err_at(e, ERR_SCHEMA, name, line, 0, "'%.60s': expected \"key: value\"", at);
        *colon = 0;
        if (!listed(needed, at) && !listed(optional, at))
            return err_at(e, ERR_SCHEMA, name, line, 0,
                          "unknown key '%.60s': this program reads logs of version %d", at,
                          LOG_VERSION);
        const struct log_line *twin = log_head_find(h, at);
        if (twin)
            return err_at(e, ERR_SCHEMA, name, line, 0, "key '%s' stands in line %d already", at,
                          twin->line);
        h->line[h->n_lines++] = (struct log_line){at, colon + 2, line};
        at = stop + 1;
    }
    for (int i = 0; needed[i]; i++)
        if (!log_head_find(h, needed[i]))
            return err_at(e, ERR_SCHEMA, name, h->n_lines, 0, "the header has no key '%s'",
                          needed[i]);
    return ERR_OK;
}

/* ---- numbers -------------------------------------------------------------------------------- */

struct field {
    const char *key;
    int32_t *to;
    int32_t min, max;
};

/* A number as this format writes it, up to `stop`: no sign but a minus, no leading zero. */
static bool whole_number(const char *s, const char *stop, int64_t min, int64_t max, int64_t *out)
{
    bool minus = s < stop && *s == '-';
    s += minus;
    if (s == stop || stop - s > 18 || (*s == '0' && (stop - s > 1 || minus)))
        return false;
    int64_t v = 0;
    for (; s < stop; s++) {
        if (*s < '0' || *s > '9')
            return false;
        v = 10 * v + (*s - '0');
    }
    v = minus ? -v : v;
    *out = v;
    return v >= min && v <= max;
}

static bool hex_number(const char *s, size_t digits, uint64_t *out)
{
    uint64_t v = 0;
    if (strlen(s) != digits)
        return false;
    for (; *s; s++) {
        const char *all = "0123456789abcdef", *at = strchr(all, *s);
        if (!at)
            return false;
        v = v << 4 | (uint64_t)(at - all);
    }
    *out = v;
    return true;
}

static int get_field(const char *name, const struct log_head *h, const struct field *f,
                     struct err *e)
{
    const struct log_line *l = log_head_find(h, f->key);
    int64_t v;
    if (!whole_number(l->value, l->value + strlen(l->value), f->min, f->max, &v))
        return err_at(e, ERR_SCHEMA, name, l->line, 0,
                      "%s is '%.60s': expected a whole number from %d to %d", f->key, l->value,
                      f->min, f->max);
    *f->to = (int32_t)v;
    return ERR_OK;
}

/* Numbers with one space between them; an empty value is an empty list. */
static int get_list(const char *name, const struct log_head *h, const char *key, int32_t cap,
                    int32_t max, int32_t *out, int32_t *n, struct err *e)
{
    const struct log_line *l = log_head_find(h, key);
    *n = 0;
    for (const char *s = l->value; *s;) {
        const char *stop = s + strcspn(s, " ");
        int64_t v;
        if (*n == cap || !whole_number(s, stop, 0, max, &v) || (*stop && !stop[1]))
            return err_at(e, ERR_SCHEMA, name, l->line, 0,
                          "%s is '%.60s': expected at most %d numbers from 0 to %d with a space "
                          "between",
                          key, l->value, cap, max);
        out[(*n)++] = (int32_t)v;
        s = *stop ? stop + 1 : stop;
    }
    return ERR_OK;
}

/* Absent where no graphs share their weights. */
static int get_weights(const char *name, struct log_head *h, struct err *e)
{
    const struct log_line *l = log_head_find(h, "graph_weights");
    int32_t n = 0;
    int rc = l ? get_list(name, h, "graph_weights", h->caps.n_graphs, EXEC_MAX_GRAPHS,
                          h->caps.graph_weights, &n, e)
               : ERR_OK;
    if (rc || !l || n == h->caps.n_graphs)
        return rc;
    return err_at(e, ERR_SCHEMA, name, l->line, 0, "graph_weights has %d numbers: expected %d", n,
                  h->caps.n_graphs);
}

static int get_features(const char *name, struct log_head *h, struct err *e)
{
    const struct log_line *l = log_head_find(h, "features");
    for (const char *s = l->value; *s;) {
        size_t n = strcspn(s, " ");
        const struct log_feature *f = log_features;
        while (f->name && (strlen(f->name) != n || strncmp(f->name, s, n)))
            f++;
        if (!f->name || (h->caps.features & f->bit) || (s[n] && !s[n + 1]))
            return err_at(e, ERR_SCHEMA, name, l->line, 0,
                          "features is '%.80s': expected some of trees blocks graphs copies "
                          "calibrates, each once",
                          l->value);
        h->caps.features |= f->bit;
        s += s[n] ? n + 1 : n;
    }
    return ERR_OK;
}

static int get_hex(const char *name, const struct log_head *h, const char *key, uint64_t *out,
                   struct err *e)
{
    const struct log_line *l = log_head_find(h, key);
    if (hex_number(l->value, 16, out))
        return ERR_OK;
    return err_at(e, ERR_SCHEMA, name, l->line, 0, "%s is '%.60s': expected 16 hexadecimal digits",
                  key, l->value);
}

static int get_text(const char *name, const struct log_head *h, const char *key, char *to,
                    size_t size, struct err *e)
{
    const struct log_line *l = log_head_find(h, key);
    if (strlen(l->value) >= size)
        return err_at(e, ERR_SCHEMA, name, l->line, 0, "%s has more than %zu bytes", key, size - 1);
    strcpy(to, l->value);
    return ERR_OK;
}

static int get_numbers(const char *name, struct log_head *h, struct err *e)
{
    struct run_setup *s = &h->setup;
    struct exec_caps *c = &h->caps;
    const struct field field[] = {
        {"n_vocab", &s->n_vocab, 1, INT32_MAX},
        {"max_requests", &s->max_requests, 1, LOG_MAX_SMALL},
        {"blocks", &c->blocks, 1, LOG_MAX_SMALL},
        {"max_rows", &c->max_rows, 1, LOG_MAX_ROWS},
        {"max_ctx", &c->max_ctx, 1, LOG_MAX_CTX},
        {"max_seqs", &c->max_seqs, 1, LOG_MAX_SMALL},
        {"max_jobs", &c->max_jobs, 1, LOG_MAX_SMALL},
        {"max_topk", &c->max_topk, 0, LOG_MAX_SMALL},
        {"n_slots", &c->n_slots, 0, LOG_MAX_SMALL},
    };
    int rc = ERR_OK;
    for (size_t i = 0; !rc && i < sizeof field / sizeof *field; i++)
        rc = get_field(name, h, &field[i], e);
    if (!rc)
        rc = get_list(name, h, "eos", EXEC_MAX_EOS, s->n_vocab - 1, s->eos, &s->n_eos, e);
    if (!rc)
        rc = get_list(name, h, "graph_widths", EXEC_MAX_GRAPHS, LOG_MAX_ROWS, c->graph_width,
                      &c->n_graphs, e);
    if (!rc)
        rc = get_weights(name, h, e);
    if (!rc)
        rc = get_features(name, h, e);
    if (!rc)
        rc = get_hex(name, h, "seed", &s->seed, e);
    return rc ? rc : get_hex(name, h, "belief", &h->belief_hash, e);
}

static int get_texts(const char *name, struct log_head *h, struct err *e)
{
    struct run_setup *s = &h->setup;
    const struct {
        const char *key;
        char *to;
        size_t size;
    } text[] = {{"model", s->model, sizeof s->model},
                {"device", s->device, sizeof s->device},
                {"roles", s->roles, sizeof s->roles},
                {"numerics", s->numerics, sizeof s->numerics},
                {"version", s->version, sizeof s->version}};
    int rc = ERR_OK;
    for (size_t i = 0; !rc && i < sizeof text / sizeof *text; i++)
        rc = get_text(name, h, text[i].key, text[i].to, text[i].size, e);
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static const char magic[] = "tandem-log: ";

int log_head_magic(const char *name, const char *bytes, size_t n, struct err *e)
{
    size_t m = n < sizeof magic - 1 ? n : sizeof magic - 1;
    if (n && !memcmp(bytes, magic, m))
        return ERR_OK;
    return err_at(e, ERR_CORRUPT, name, 1, 0,
                  "this is no log of Tandem%s: expected \"%s%d\" at byte 0",
                  n ? "" : ", but an empty file", magic, LOG_VERSION);
}

static int check_version(const char *name, const char *bytes, size_t n, struct err *e)
{
    size_t m = sizeof magic - 1;
    if (n < m + 2)
        return err_at(e, ERR_CORRUPT, name, 1, 0, "byte %zu: the header ends before its version",
                      n);
    if (bytes[m] != '0' + LOG_VERSION || bytes[m + 1] != '\n')
        return err_at(e, ERR_UNSUPPORTED, name, 1, 0,
                      "the log's version is %.*s: this program reads version %d; record the run "
                      "again",
                      (int)strcspn(bytes + m, "\n") > 20 ? 20 : (int)strcspn(bytes + m, "\n"),
                      bytes + m, LOG_VERSION);
    return ERR_OK;
}

/* The last line is the CRC-32 of those before it. */
static int check_crc(const char *name, const char *bytes, size_t n, struct log_head *h,
                     struct err *e)
{
    static const char key[] = "header_crc32: ";
    size_t line = sizeof key - 1 + 8 + 1;
    char digits[9] = "";
    uint64_t want;
    if (n > line) {
        memcpy(digits, bytes + n - 9, 8);
        h->crc = hash_crc32(0, bytes, n - line);
    }
    if (n <= line || memcmp(bytes + n - line, key, sizeof key - 1) || !hex_number(digits, 8, &want))
        return err_at(e, ERR_CORRUPT, name, 0, 0,
                      "byte %zu: expected the header's last line, \"%s\" and 8 digits",
                      n > line ? n - line : 0, key);
    if (want != h->crc)
        return err_at(e, ERR_CORRUPT, name, 0, 0,
                      "bytes 0 to %zu: the header says CRC-32 %08" PRIx64
                      ", its lines give %08" PRIx32 ": the file is damaged; record the run again",
                      n, want, h->crc);
    return ERR_OK;
}

int log_head_parse(const char *name, const char *bytes, size_t n, struct log_head *out,
                   struct err *e)
{
    memset(out, 0, sizeof *out);
    int rc = log_head_magic(name, bytes, n, e);
    if (!rc)
        rc = check_version(name, bytes, n, e);
    if (!rc)
        rc = check_crc(name, bytes, n, out, e);
    if (!rc)
        rc = check_text(name, bytes, n, e);
    if (rc)
        return rc;
    memcpy(out->text, bytes, n);
    rc = split(name, n, out, e);
    if (!rc)
        rc = get_texts(name, out, e);
    return rc ? rc : get_numbers(name, out, e);
}
