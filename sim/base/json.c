/* States of the reader. VALUE: a value must come. FIRST: just after '{' or '['. NAME: a key must
 * come. AFTER: a value has ended. */
#include "sim/base/json.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_VALUE, STATE_FIRST, STATE_NAME, STATE_AFTER };

enum { SHOWN = 61 }; /* bytes of foreign text in a message, with the NUL */

size_t json_utf8(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;
    while (i < n) {
        unsigned c = p[i];
        size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
        if (len == 0 || len > n - i)
            return i;
        for (size_t k = 1; k < len; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return i;
        unsigned second = len > 1 ? p[i + 1] : 0;
        if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) ||
            (c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f))
            return i;
        i += len;
    }
    return n;
}

/* ---- reading -------------------------------------------------------------------------------- */

void json_init(struct json_reader *r, const char *name, const char *data, size_t n, int line)
{
    memset(r, 0, sizeof *r);
    r->name = name;
    r->data = data;
    r->n = n;
    r->line = line;
    r->col = 1;
}

void json_fini(struct json_reader *r)
{
    free(r->buf);
    r->buf = NULL;
    r->cap = 0;
}

static int peek(const struct json_reader *r)
{
    return r->at < r->n ? (unsigned char)r->data[r->at] : -1;
}

static void take(struct json_reader *r)
{
    unsigned char c = (unsigned char)r->data[r->at++];
    if (c == '\n') {
        r->line++;
        r->col = 1;
    } else if ((c & 0xc0) != 0x80) {
        r->col++;
    }
}

static void space(struct json_reader *r)
{
    for (int c = peek(r); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(r))
        take(r);
}

static int wrong(const struct json_reader *r, const char *want, struct err *e)
{
    int c = peek(r);
    if (c < 0)
        return err_at(e, ERR_PARSE, r->name, r->line, r->col, "the text ends here: expected %s",
                      want);
    if (c > ' ' && c < 0x7f)
        return err_at(e, ERR_PARSE, r->name, r->line, r->col, "found '%c': expected %s", c, want);
    return err_at(e, ERR_PARSE, r->name, r->line, r->col, "found byte 0x%02x: expected %s",
                  (unsigned)c, want);
}

static int append(struct json_reader *r, size_t *used, const char *s, size_t n, struct err *e)
{
    if (n >= r->cap - *used || !r->cap) {
        size_t cap = r->cap + n + 64 + r->cap / 2;
        char *more = realloc(r->buf, cap);
        if (!more)
            return err_at(e, ERR_NOMEM, r->name, r->line, r->col, "out of memory");
        r->buf = more;
        r->cap = cap;
    }
    memcpy(r->buf + *used, s, n);
    *used += n;
    return ERR_OK;
}

/* Four hexadecimal digits. */
static int hex4(struct json_reader *r, unsigned *out, struct err *e)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(r);
        unsigned v;
        if (c >= '0' && c <= '9')
            v = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = (unsigned)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            v = (unsigned)(c - 'A') + 10;
        else
            return wrong(r, "four hexadecimal digits after '\\u'", e);
        *out = *out << 4 | v;
        take(r);
    }
    return ERR_OK;
}

/* After "\u": one character, from one escape or from a pair of surrogates. */
static int unicode(struct json_reader *r, size_t *used, struct err *e)
{
    unsigned c, low;
    int line = r->line, col = r->col;
    if (hex4(r, &c, e))
        return ERR_PARSE;
    if (c >= 0xd800 && c <= 0xdfff) {
        bool pair =
            c < 0xdc00 && r->n - r->at >= 2 && r->data[r->at] == '\\' && r->data[r->at + 1] == 'u';
        if (pair) {
            take(r);
            take(r);
            if (hex4(r, &low, e))
                return ERR_PARSE;
            pair = low >= 0xdc00 && low <= 0xdfff;
        }
        if (!pair)
            return err_at(e, ERR_PARSE, r->name, line, col,
                          "\\u%04x is half of a surrogate pair: expected both halves", c);
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    char out[4];
    size_t n = 0;
    if (c < 0x80) {
        out[n++] = (char)c;
    } else if (c < 0x800) {
        out[n++] = (char)(0xc0 | c >> 6);
        out[n++] = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        out[n++] = (char)(0xe0 | c >> 12);
        out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        out[n++] = (char)(0x80 | (c & 0x3f));
    } else {
        out[n++] = (char)(0xf0 | c >> 18);
        out[n++] = (char)(0x80 | (c >> 12 & 0x3f));
        out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        out[n++] = (char)(0x80 | (c & 0x3f));
    }
    return append(r, used, out, n, e);
}

static int escape(struct json_reader *r, size_t *used, struct err *e)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    take(r);
    int c = peek(r);
    if (c == 'u') {
        take(r);
        return unicode(r, used, e);
    }
    const char *p = c > 0 ? strchr(from, c) : NULL;
    if (!p)
        return wrong(r, "one of \" \\ / b f n r t u after '\\'", e);
    take(r);
    return append(r, used, &to[p - from], 1, e);
}

static int string(struct json_reader *r, struct json_token *t, struct err *e)
{
    size_t used = 0;
    take(r);
    for (;;) {
        size_t end = r->at;
        while (end < r->n && r->data[end] != '"' && r->data[end] != '\\' &&
               (unsigned char)r->data[end] >= 0x20)
            end++;
        const char *run = r->data + r->at;
        size_t n = end - r->at, good = json_utf8(run, n);
        for (size_t i = 0; i < good; i++)
            take(r);
        if (good < n)
            return err_at(e, ERR_PARSE, r->name, r->line, r->col,
                          "found byte 0x%02x, which is not UTF-8: save the text as UTF-8",
                          (unsigned)(unsigned char)r->data[r->at]);
        int code = append(r, &used, run, n, e);
        if (code)
            return code;
        int c = peek(r);
        if (c == '"')
            break;
        if (c != '\\')
            return wrong(r, c < 0 ? "'\"' to end the string" : "an escape for a control character",
                         e);
        code = escape(r, &used, e);
        if (code)
            return code;
    }
    take(r);
    r->buf[used] = 0;
    t->text = r->buf;
    t->n = used;
    return ERR_OK;
}

static int digits(struct json_reader *r, struct err *e)
{
    if (!(peek(r) >= '0' && peek(r) <= '9'))
        return wrong(r, "a digit", e);
    while (peek(r) >= '0' && peek(r) <= '9')
        take(r);
    return ERR_OK;
}

static int number(struct json_reader *r, struct json_token *t, struct err *e)
{
    size_t from = r->at, used = 0;
    bool whole = true;
    if (peek(r) == '-')
        take(r);
    if (peek(r) == '0')
        take(r);
    else if (digits(r, e))
        return ERR_PARSE;
    if (peek(r) == '.') {
        whole = false;
        take(r);
        if (digits(r, e))
            return ERR_PARSE;
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        whole = false;
        take(r);
        if (peek(r) == '+' || peek(r) == '-')
            take(r);
        if (digits(r, e))
            return ERR_PARSE;
    }
    int code = append(r, &used, r->data + from, r->at - from, e);
    if (code)
        return code;
    r->buf[used] = 0;
    t->type = whole ? JSON_INT : JSON_DOUBLE;
    t->d = strtod(r->buf, NULL);
    errno = 0;
    t->i = whole ? strtoll(r->buf, NULL, 10) : 0;
    if (whole ? errno != 0 : !isfinite(t->d))
        return err_at(e, ERR_RANGE, r->name, t->line, t->col, "%.40s%s is too large: expected %s",
                      r->buf, used > 40 ? "..." : "",
                      whole ? "a whole number that fits 64 bits" : "a number below 1.8e308");
    return ERR_OK;
}

static int literal(struct json_reader *r, struct json_token *t, struct err *e)
{
    static const struct {
        const char *word;
        enum json_type type;
        bool b;
    } known[] = {
        {"true", JSON_BOOL, true}, {"false", JSON_BOOL, false}, {"null", JSON_NULL, false}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t n = strlen(known[i].word);
        if (r->n - r->at >= n && !memcmp(r->data + r->at, known[i].word, n)) {
            for (size_t k = 0; k < n; k++)
                take(r);
            t->type = known[i].type;
            t->b = known[i].b;
            return ERR_OK;
        }
    }
    if (r->n - r->at >= 3 && !memcmp(r->data + r->at, "\xef\xbb\xbf", 3))
        return wrong(r, "a value; save the file as UTF-8 without a byte order mark", e);
    return wrong(r, "a value", e);
}

static int open_level(struct json_reader *r, bool object, struct json_token *t, struct err *e)
{
    if (r->depth == JSON_MAX_DEPTH)
        return err_at(e, ERR_LIMIT, r->name, t->line, t->col,
                      "nested deeper than %d levels, the limit here: write it flatter",
                      JSON_MAX_DEPTH);
    take(r);
    t->type = object ? JSON_OBJECT : JSON_ARRAY;
    r->in_object[r->depth++] = object;
    r->state = STATE_FIRST;
    return ERR_OK;
}

static int value(struct json_reader *r, struct json_token *t, struct err *e)
{
    int c = peek(r);
    if (c == '{' || c == '[')
        return open_level(r, c == '{', t, e);
    r->state = STATE_AFTER;
    if (c == '"') {
        t->type = JSON_STRING;
        return string(r, t, e);
    }
    if (c == '-' || (c >= '0' && c <= '9'))
        return number(r, t, e);
    return literal(r, t, e);
}

static int name(struct json_reader *r, struct json_token *t, struct err *e)
{
    if (peek(r) != '"')
        return wrong(r, "a key in double quotes", e);
    t->type = JSON_KEY;
    int code = string(r, t, e);
    if (code)
        return code;
    space(r);
    if (peek(r) != ':')
        return wrong(r, "':' after the key", e);
    take(r);
    r->state = STATE_VALUE;
    return ERR_OK;
}

int json_next(struct json_reader *r, struct json_token *t, struct err *e)
{
    memset(t, 0, sizeof *t);
    space(r);
    bool inside = r->depth > 0, object = inside && r->in_object[r->depth - 1];
    t->line = r->line;
    t->col = r->col;
    if (r->state == STATE_AFTER && !inside)
        return r->at == r->n ? ERR_OK : wrong(r, "nothing after the value", e);
    if ((r->state == STATE_AFTER || r->state == STATE_FIRST) && inside &&
        peek(r) == (object ? '}' : ']')) {
        take(r);
        r->depth--;
        r->state = STATE_AFTER;
        t->type = object ? JSON_OBJECT_END : JSON_ARRAY_END;
        return ERR_OK;
    }
    if (r->state == STATE_AFTER) {
        if (peek(r) != ',')
            return wrong(r, object ? "',' or '}'" : "',' or ']'", e);
        take(r);
        space(r);
        t->line = r->line;
        t->col = r->col;
        r->state = object ? STATE_NAME : STATE_VALUE;
    } else if (r->state == STATE_FIRST) {
        r->state = object ? STATE_NAME : STATE_VALUE;
    }
    return r->state == STATE_NAME ? name(r, t, e) : value(r, t, e);
}

static const char *type_name(enum json_type type)
{
    static const char *const text[] = {
        [JSON_END] = "the end of the text",
        [JSON_OBJECT] = "an object",
        [JSON_OBJECT_END] = "'}'",
        [JSON_ARRAY] = "an array",
        [JSON_ARRAY_END] = "']'",
        [JSON_KEY] = "a key",
        [JSON_STRING] = "a string",
        [JSON_INT] = "a whole number",
        [JSON_DOUBLE] = "a number",
        [JSON_BOOL] = "true or false",
        [JSON_NULL] = "null",
    };
    return text[type];
}

/* Foreign text for a message: cut short at a whole character, controls as '?'. */
static const char *shown(const char *s, size_t n, char buf[SHOWN])
{
    bool cut = n > SHOWN - 4;
    size_t m = cut ? json_utf8(s, SHOWN - 4) : n;
    for (size_t i = 0; i < m; i++)
        buf[i] = (unsigned char)s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i];
    snprintf(buf + m, SHOWN - m, "%s", cut ? "..." : "");
    return buf;
}

int json_wrong(const struct json_reader *r, const struct json_token *t, const char *what,
               const char *expected, struct err *e)
{
    char text[SHOWN], value[SHOWN + 16];
    if (t->type == JSON_STRING)
        snprintf(value, sizeof value, "the string \"%s\"", shown(t->text, t->n, text));
    else if (t->type == JSON_INT || t->type == JSON_DOUBLE) /* as it was written */
        snprintf(value, sizeof value, "%s", shown(r->buf, strlen(r->buf), text));
    else if (t->type == JSON_BOOL)
        snprintf(value, sizeof value, "%s", t->b ? "true" : "false");
    else
        snprintf(value, sizeof value, "%s", type_name(t->type));
    return err_at(e, ERR_SCHEMA, r->name, t->line, t->col, "%s is %s: expected %s", what, value,
                  expected);
}

int json_expect(struct json_reader *r, enum json_type type, const char *what, struct json_token *t,
                struct err *e)
{
    int code = json_next(r, t, e);
    if (code)
        return code;
    if (t->type != type && !(type == JSON_DOUBLE && t->type == JSON_INT))
        return json_wrong(r, t, what, type_name(type), e);
    if (t->text && strlen(t->text) != t->n)
        return err_at(e, ERR_SCHEMA, r->name, t->line, t->col,
                      "%s holds the character U+0000, which has no meaning here: remove it", what);
    return ERR_OK;
}

int json_skip(struct json_reader *r, struct json_token *t, struct err *e)
{
    int base = r->depth;
    int code = json_next(r, t, e);
    struct json_token inner;
    while (!code && r->depth > base)
        code = json_next(r, &inner, e);
    return code;
}

static void list_keys(const char *const *keys, uint32_t bits, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (int i = 0; keys[i]; i++)
        if (bits >> i & 1 && at < size)
            at += (size_t)snprintf(buf + at, size - at, "%s'%s'", at ? ", " : "", keys[i]);
}

int json_member(struct json_reader *r, const char *const *keys, uint32_t required, uint32_t *seen,
                int *index, struct err *e)
{
    struct json_token t;
    char list[400], text[SHOWN];
    int code = json_next(r, &t, e);
    if (code)
        return code;
    *index = -1;
    if (t.type == JSON_OBJECT_END) {
        uint32_t missing = required & ~*seen;
        if (!missing)
            return ERR_OK;
        list_keys(keys, missing, list, sizeof list);
        return err_at(e, ERR_SCHEMA, r->name, t.line, t.col, "the object lacks %s: add %s", list,
                      missing & (missing - 1) ? "them" : "it");
    }
    assert(t.type == JSON_KEY);
    for (int i = 0; keys[i]; i++)
        if (strlen(keys[i]) == t.n && !memcmp(keys[i], t.text, t.n))
            *index = i;
    if (*index < 0) {
        list_keys(keys, UINT32_MAX, list, sizeof list);
        return err_at(e, ERR_SCHEMA, r->name, t.line, t.col, "unknown key '%s': expected one of %s",
                      shown(t.text, t.n, text), list);
    }
    if (*seen >> *index & 1)
        return err_at(e, ERR_SCHEMA, r->name, t.line, t.col, "the key '%s' comes twice: remove one",
                      keys[*index]);
    *seen |= (uint32_t)1 << *index;
    return ERR_OK;
}

void json_lines_init(struct json_lines *l, const char *name, const char *data, size_t n)
{
    memset(l, 0, sizeof *l);
    l->name = name;
    l->data = data;
    l->n = n;
}

bool json_lines_next(struct json_lines *l, struct json_reader *r)
{
    while (l->at < l->n) {
        const char *line = l->data + l->at;
        const char *end = memchr(line, '\n', l->n - l->at);
        size_t n = end ? (size_t)(end - line) : l->n - l->at;
        l->at += n + (end != NULL);
        l->line++;
        for (size_t i = 0; i < n; i++)
            if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') {
                json_init(r, l->name, line, n, l->line);
                return true;
            }
    }
    return false;
}

/* ---- writing -------------------------------------------------------------------------------- */

void json_writer_init(struct json_writer *w, FILE *file, int indent)
{
    memset(w, 0, sizeof *w);
    w->file = file;
    w->indent = indent;
    w->first = true;
}

void json_writer_fini(struct json_writer *w)
{
    free(w->data);
    memset(w, 0, sizeof *w);
}

static void put_n(struct json_writer *w, const char *s, size_t n)
{
    if (w->code)
        return;
    if (w->file) {
        if (fwrite(s, 1, n, w->file) != n)
            w->code = ERR_IO;
        return;
    }
    if (w->cap - w->n <= n) {
        size_t cap = w->cap + w->cap / 2 + n + 256;
        char *more = realloc(w->data, cap);
        if (!more) {
            w->code = ERR_NOMEM;
            return;
        }
        w->data = more;
        w->cap = cap;
    }
    memcpy(w->data + w->n, s, n);
    w->n += n;
    w->data[w->n] = 0;
}

static void put(struct json_writer *w, const char *s)
{
    put_n(w, s, strlen(s));
}

static void new_line(struct json_writer *w)
{
    if (!w->indent)
        return;
    put(w, "\n");
    for (int i = 0; i < w->depth * w->indent; i++)
        put(w, " ");
}

static void quoted(struct json_writer *w, const char *s, size_t n)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    char esc[8];
    size_t good = json_utf8(s, n);
    put(w, "\"");
    for (size_t i = 0, run = 0; run < n; run = i) {
        while (i < good && s[i] != '"' && s[i] != '\\' && (unsigned char)s[i] >= 0x20)
            i++;
        put_n(w, s + run, i - run);
        if (i == n)
            break;
        const char *p = s[i] ? strchr(from, s[i]) : NULL;
        if (i == good)
            snprintf(esc, sizeof esc, "\xef\xbf\xbd");
        else if (p)
            snprintf(esc, sizeof esc, "\\%c", to[p - from]);
        else
            snprintf(esc, sizeof esc, "\\u%04x", (unsigned)(unsigned char)s[i]);
        put(w, esc);
        if (i == good)
            good = i + 1 + json_utf8(s + i + 1, n - i - 1);
        i++;
    }
    put(w, "\"");
}

/* What stands before a value: the comma, the new line, the key. */
static void lead(struct json_writer *w, const char *key)
{
    bool object = w->depth && w->in_object[w->depth - 1];
    assert(object == (key != NULL) && "a key in an object and nowhere else");
    assert((w->depth || w->first) && "one value, then json_line");
    if (!w->first)
        put(w, w->indent ? "," : ", ");
    if (w->depth)
        new_line(w);
    if (key) {
        quoted(w, key, strlen(key));
        put(w, ": ");
    }
    w->first = false;
}

static void open_with(struct json_writer *w, const char *key, bool object)
{
    lead(w, key);
    put(w, object ? "{" : "[");
    assert(w->depth < JSON_MAX_DEPTH);
    w->in_object[w->depth++] = object;
    w->first = true;
}

void json_object(struct json_writer *w, const char *key)
{
    open_with(w, key, true);
}

void json_array(struct json_writer *w, const char *key)
{
    open_with(w, key, false);
}

void json_close(struct json_writer *w)
{
    assert(w->depth);
    w->depth--;
    if (!w->first)
        new_line(w);
    put(w, w->in_object[w->depth] ? "}" : "]");
    w->first = false;
}

int json_line(struct json_writer *w)
{
    assert(!w->depth && !w->first);
    put(w, "\n");
    int code = w->code;
    w->first = true;
    w->code = ERR_OK;
    return code;
}

void json_string(struct json_writer *w, const char *key, const char *s)
{
    json_string_n(w, key, s, strlen(s));
}

void json_string_n(struct json_writer *w, const char *key, const char *s, size_t n)
{
    lead(w, key);
    quoted(w, s, n);
}

void json_int(struct json_writer *w, const char *key, int64_t v)
{
    char buf[24];
    lead(w, key);
    snprintf(buf, sizeof buf, "%" PRId64, v);
    put(w, buf);
}

void json_double(struct json_writer *w, const char *key, double v)
{
    char buf[40];
    if (!isfinite(v)) {
        json_null(w, key);
        return;
    }
    lead(w, key);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, v);
        if (memcmp(&(double){strtod(buf, NULL)}, &v, sizeof v) == 0)
            break;
    }
    /* "-0" would be read as the integer 0 */
    put(w, strcmp(buf, "-0") ? buf : "-0.0");
}

void json_bool(struct json_writer *w, const char *key, bool v)
{
    lead(w, key);
    put(w, v ? "true" : "false");
}

void json_null(struct json_writer *w, const char *key)
{
    lead(w, key);
    put(w, "null");
}
