/* Bytes to tree, and values put into it. The getters are in yaml_read.c. */
#include "sim/base/yaml.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "sim/base/io.h"

/* ---- building ------------------------------------------------------------------------------- */

struct builder {
    struct yaml *y;
    const char *file;
    bool set;               /* no positions: the text is a command's argument */
    struct yaml_node *root; /* when done */
    struct yaml_node *open; /* the list or mapping being filled */
    char *key;              /* of the mapping's next child; NULL: the key comes next */
    int key_line, key_col;
    int32_t n_nodes;
    int depth, documents;
};

static int fail_mark(struct builder *b, yaml_mark_t mark, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int fail_mark(struct builder *b, yaml_mark_t mark, int code, const char *fmt, ...)
{
    char m[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m, sizeof m, fmt, ap);
    va_end(ap);
    if (!b->y->code)
        b->y->code = code;
    return err_at(b->y->e, code, b->file, b->set ? 0 : (int)mark.line + 1,
                  b->set ? 0 : (int)mark.column + 1, "%s", m);
}

static int no_memory(struct yaml *y)
{
    if (!y->code)
        y->code = ERR_NOMEM;
    return err_set(y->e, ERR_NOMEM, "out of memory while reading YAML");
}

static void attach(struct yaml_node *parent, struct yaml_node *child)
{
    child->parent = parent;
    child->index = parent->n++;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

/* A new node in its place; NULL after an error. */
static struct yaml_node *add(struct builder *b, enum yaml_type type, yaml_mark_t mark)
{
    if (++b->n_nodes > YAML_MAX_NODES) {
        fail_mark(b, mark, ERR_LIMIT, "more than %d values: split the file", YAML_MAX_NODES);
        return NULL;
    }
    struct yaml_node *node = arena_alloc(b->y->arena, 1, sizeof *node);
    if (!node) {
        no_memory(b->y);
        return NULL;
    }
    node->type = (uint8_t)type;
    node->file = b->file;
    node->set = b->set;
    node->line = b->set ? 0 : (int)mark.line + 1;
    node->col = b->set ? 0 : (int)mark.column + 1;
    if (!b->open) {
        b->root = node;
        return node;
    }
    if (b->open->type == YAML_MAP) {
        node->key = b->key;
        node->key_line = b->key_line;
        node->key_col = b->key_col;
        b->key = NULL;
    }
    attach(b->open, node);
    return node;
}

static bool wants_key(const struct builder *b)
{
    return b->open && b->open->type == YAML_MAP && !b->key;
}

static int take_key(struct builder *b, const char *text, yaml_mark_t mark)
{
    if (!*text)
        return fail_mark(b, mark, ERR_PARSE, "a key is empty: write 'key: value'");
    if (b->open->n == YAML_MAX_KEYS)
        return fail_mark(b, mark, ERR_LIMIT, "more than %d keys in one mapping", YAML_MAX_KEYS);
    for (const struct yaml_node *c = b->open->first; c; c = c->next)
        if (!strcmp(c->key, text)) {
            char line[32] = "";
            if (!b->set)
                snprintf(line, sizeof line, " (first in line %d)", c->key_line);
            return fail_mark(b, mark, ERR_SCHEMA, "duplicate key '%.80s'%s: remove one of them",
                             text, line);
        }
    b->key = arena_strdup(b->y->arena, text);
    b->key_line = b->set ? 0 : (int)mark.line + 1;
    b->key_col = b->set ? 0 : (int)mark.column + 1;
    return b->key ? ERR_OK : no_memory(b->y);
}

static bool is_null(const yaml_event_t *ev)
{
    const char *s = (const char *)ev->data.scalar.value;
    return ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*s || !strcmp(s, "~") || !strcmp(s, "null"));
}

static int on_scalar(struct builder *b, const yaml_event_t *ev)
{
    const char *text = (const char *)ev->data.scalar.value;
    if (strlen(text) != ev->data.scalar.length)
        return fail_mark(b, ev->start_mark, ERR_PARSE, "a NUL character in a text: remove it");
    if (wants_key(b))
        return take_key(b, text, ev->start_mark);
    struct yaml_node *node = add(b, is_null(ev) ? YAML_NULL : YAML_TEXT, ev->start_mark);
    if (!node)
        return b->y->code;
    node->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = arena_strdup(b->y->arena, text);
    return node->text ? ERR_OK : no_memory(b->y);
}

static int on_open(struct builder *b, const yaml_event_t *ev, enum yaml_type type)
{
    if (wants_key(b))
        return fail_mark(b, ev->start_mark, ERR_PARSE,
                         "a key is a list or a mapping: expected plain text");
    if (++b->depth > YAML_MAX_DEPTH)
        return fail_mark(b, ev->start_mark, ERR_LIMIT,
                         "nested more than %d deep, the limit here: write it flatter",
                         YAML_MAX_DEPTH);
    struct yaml_node *node = add(b, type, ev->start_mark);
    if (node)
        b->open = node;
    return b->y->code;
}

/* Anchors and tags: refused, wherever they stand. */
static int check_plain(struct builder *b, const yaml_event_t *ev)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (ev->type == YAML_SCALAR_EVENT) {
        anchor = ev->data.scalar.anchor;
        tag = ev->data.scalar.tag;
    } else if (ev->type == YAML_SEQUENCE_START_EVENT) {
        anchor = ev->data.sequence_start.anchor;
        tag = ev->data.sequence_start.tag;
    } else if (ev->type == YAML_MAPPING_START_EVENT) {
        anchor = ev->data.mapping_start.anchor;
        tag = ev->data.mapping_start.tag;
    }
    if (anchor)
        return fail_mark(b, ev->start_mark, ERR_PARSE,
                         "anchor '&%.60s': anchors are not supported, write the value out",
                         (const char *)anchor);
    if (tag)
        return fail_mark(b, ev->start_mark, ERR_PARSE,
                         "tag '%.60s': tags are not supported, remove it", (const char *)tag);
    return ERR_OK;
}

static int on_event(struct builder *b, const yaml_event_t *ev)
{
    int code = check_plain(b, ev);
    if (code)
        return code;
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++b->documents > 1)
            return fail_mark(b, ev->start_mark, ERR_PARSE,
                             "a second document: expected one per file, remove '---'");
        return ERR_OK;
    case YAML_ALIAS_EVENT:
        return fail_mark(b, ev->start_mark, ERR_PARSE,
                         "alias '*%.60s': aliases are not supported, write the value out",
                         (const char *)ev->data.alias.anchor);
    case YAML_SCALAR_EVENT:
        return on_scalar(b, ev);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, ev, YAML_LIST);
    case YAML_MAPPING_START_EVENT:
        return on_open(b, ev, YAML_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        b->open = b->open->parent;
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

static int parser_error(struct builder *b, const yaml_parser_t *p)
{
    if (p->error == YAML_MEMORY_ERROR)
        return no_memory(b->y);
    yaml_mark_t mark = p->error == YAML_READER_ERROR ? p->mark : p->problem_mark;
    return fail_mark(b, mark, ERR_PARSE, "malformed YAML: %s%s%s: correct the text here",
                     p->context ? p->context : "", p->context ? ", " : "",
                     p->problem ? p->problem : "unknown problem");
}

static int build(struct builder *b, const void *bytes, size_t n)
{
    yaml_parser_t p;
    if (!yaml_parser_initialize(&p))
        return no_memory(b->y);
    yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p, bytes, n);
    int code = ERR_OK;
    for (bool end = false; !end && !code;) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&p, &ev)) {
            code = parser_error(b, &p);
            break;
        }
        end = ev.type == YAML_STREAM_END_EVENT;
        code = on_event(b, &ev);
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&p);
    return code;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

/* Length of the UTF-8 sequence at p, 0 when it is none (overlong forms, surrogates and what is
 * beyond U+10FFFF included). */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

/* libyaml refuses control characters too, but does not say where. */
static int check_text(struct builder *b, const unsigned char *p, size_t n)
{
    yaml_mark_t mark = {0, 0, 0};
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_length(p + i, n - i);
        if (!len)
            return fail_mark(b, mark, ERR_PARSE, "byte 0x%02x is not UTF-8: save the file as UTF-8",
                             p[i]);
        if (p[i] == 0x7f || (p[i] < ' ' && p[i] != '\t' && p[i] != '\n' && p[i] != '\r'))
            return fail_mark(b, mark, ERR_PARSE,
                             "byte 0x%02x is a control character, no text: remove it", p[i]);
        mark.column++;
        if (p[i] == '\n') {
            mark.line++;
            mark.column = 0;
        }
    }
    return ERR_OK;
}

static void start(struct yaml *y, struct arena *arena, struct err *e)
{
    memset(y, 0, sizeof *y);
    y->arena = arena;
    y->e = e;
    y->none_map.type = YAML_MAP;
    y->none_list.type = YAML_LIST;
    y->none_map.file = y->none_list.file = "";
    y->root = &y->none_map;
}

int yaml_parse(struct yaml *y, const char *name, const void *bytes, size_t n, struct arena *arena,
               struct err *e)
{
    start(y, arena, e);
    struct builder b = {.y = y, .file = arena_strdup(arena, name)};
    if (!b.file)
        return no_memory(y);
    const yaml_mark_t top = {0, 0, 0};
    if (n > YAML_MAX_BYTES)
        return fail_mark(&b, top, ERR_LIMIT, "larger than %d MiB", YAML_MAX_BYTES >> 20);
    if (check_text(&b, bytes, n) || build(&b, bytes, n))
        return y->code;
    if (!b.root)
        return fail_mark(&b, top, ERR_PARSE, "the file is empty: expected 'key: value' lines");
    if (b.root->type != YAML_MAP)
        return yaml_fail(y, b.root, ERR_SCHEMA, "expected a mapping, 'key: value' lines");
    b.root->used = true;
    y->root = b.root;
    return ERR_OK;
}

int yaml_load(struct yaml *y, const char *path, struct arena *arena, struct err *e)
{
    start(y, arena, e);
    char *data;
    size_t n;
    int code = io_read_file(path, YAML_MAX_BYTES, &data, &n, e);
    if (code)
        return y->code = code;
    code = yaml_parse(y, path, data, n, arena, e);
    free(data);
    return code;
}

/* ---- set ------------------------------------------------------------------------------------ */

static struct yaml_node *child_of_list(const struct yaml_node *list, const char *segment)
{
    bool digits = *segment;
    for (const char *p = segment; *p; p++)
        digits = digits && *p >= '0' && *p <= '9';
    for (struct yaml_node *c = list->first; c; c = c->next) {
        if (digits && strlen(segment) < 10 && c->index == atoi(segment))
            return c;
        if (c->type != YAML_MAP)
            continue;
        for (const struct yaml_node *k = c->first; k; k = k->next)
            if (!strcmp(k->key, "name") && k->type == YAML_TEXT && !strcmp(k->text, segment))
                return c;
    }
    return NULL;
}

static struct yaml_node *child_of(const struct yaml_node *at, const char *segment)
{
    if (at->type == YAML_LIST)
        return child_of_list(at, segment);
    for (struct yaml_node *c = at->type == YAML_MAP ? at->first : NULL; c; c = c->next)
        if (!strcmp(c->key, segment))
            return c;
    return NULL;
}

/* "expected one of bus, host": what could follow the path so far. */
static void list_children(const struct yaml_node *at, char *buf, size_t size)
{
    size_t used = 0;
    if (at->type == YAML_LIST) {
        snprintf(buf, size, "expected an index from 0 to %d, or an item's name", at->n - 1);
        return;
    }
    for (const struct yaml_node *c = at->type == YAML_MAP ? at->first : NULL; c && used < size;
         c = c->next)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "expected one of ",
                                 c->key);
    if (!used)
        snprintf(buf, size, "it has no keys");
}

static int set_fail(struct yaml *y, const char *file, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int set_fail(struct yaml *y, const char *file, const char *fmt, ...)
{
    char m[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m, sizeof m, fmt, ap);
    va_end(ap);
    if (!y->code)
        y->code = ERR_SCHEMA;
    return err_at(y->e, ERR_SCHEMA, file, 0, 0, "%s", m);
}

/* A mapping's new child, null until it is set or gets children of its own. */
static struct yaml_node *add_child(struct yaml *y, const char *file, struct yaml_node *at,
                                   const char *segment)
{
    struct yaml_node *c = arena_alloc(y->arena, 1, sizeof *c);
    char *key = arena_strdup(y->arena, segment);
    if (!c || !key) {
        no_memory(y);
        return NULL;
    }
    c->key = key;
    c->text = "";
    c->file = file;
    c->set = true;
    attach(at, c);
    return c;
}

/* Follows the path (which it cuts into segments). Missing keys become null children, a null that is
 * not the last a mapping: whether there is such a key is for the reader of the file to say. */
static struct yaml_node *follow(struct yaml *y, const char *file, char *path)
{
    struct yaml_node *at = y->root;
    int depth = 0;
    for (char *segment = path, *next; segment; segment = next) {
        next = strchr(segment, '.');
        if (next)
            *next++ = 0;
        if (at->type == YAML_NULL)
            at->type = YAML_MAP;
        struct yaml_node *c = child_of(at, segment);
        if (!c && *segment && at->type == YAML_MAP && at->n < YAML_MAX_KEYS &&
            depth < YAML_MAX_DEPTH) {
            c = add_child(y, file, at, segment);
            if (!c)
                return NULL;
        }
        if (!c) {
            char where[200], known[300];
            list_children(at, known, sizeof known);
            set_fail(y, file, "there is no '%.60s' in %s: %s", segment,
                     at->parent ? yaml_path(at, where, sizeof where) : "the file", known);
            return NULL;
        }
        at = c;
        depth++;
    }
    return at;
}

int yaml_set(struct yaml *y, const char *prefix, const char *text)
{
    if (y->code)
        return y->code;
    size_t skip = prefix ? strlen(prefix) + 1 : 0;
    size_t size = strlen(text) + sizeof "--set ";
    char *file = arena_alloc(y->arena, size, 1);
    char *path = arena_strdup(y->arena, text);
    if (!file || !path)
        return no_memory(y);
    snprintf(file, size, "--set %s", text);
    char *value = strchr(path, '=');
    if (!value || value == path)
        return set_fail(y, file, "expected PATH=VALUE, as in 'device.bus.dram=80 GB/s'");
    *value++ = 0;
    if (prefix && (strncmp(path, prefix, skip - 1) || path[skip - 1] != '.'))
        return set_fail(y, file, "expected a path that begins with '%s.'", prefix);

    struct builder b = {.y = y, .file = file, .set = true};
    if (check_text(&b, (const unsigned char *)value, strlen(value)) ||
        build(&b, value, strlen(value)))
        return y->code;
    struct yaml_node *at = follow(y, file, path + skip);
    if (!at)
        return y->code;
    assert(at != y->root);
    at->type = b.root ? b.root->type : YAML_NULL;
    at->quoted = b.root && b.root->quoted;
    at->text = b.root ? b.root->text : "";
    at->set = true;
    at->file = file;
    at->line = at->col = at->key_line = at->key_col = 0;
    at->first = b.root ? b.root->first : NULL;
    at->last = b.root ? b.root->last : NULL;
    at->n = b.root ? b.root->n : 0;
    for (struct yaml_node *c = at->first; c; c = c->next)
        c->parent = at;
    return ERR_OK;
}

/* ---- paths and quoting ---------------------------------------------------------------------- */

const char *yaml_path(const struct yaml_node *at, char *buf, size_t size)
{
    const struct yaml_node *up[2 * YAML_MAX_DEPTH + 2];
    int n = 0;
    for (; at && at->parent && n < (int)(sizeof up / sizeof *up); at = at->parent)
        up[n++] = at;
    buf[0] = 0;
    for (size_t used = 0; n > 0 && used < size;) {
        const struct yaml_node *x = up[--n];
        const char *dot = used ? "." : "";
        used += (size_t)(x->key ? snprintf(buf + used, size - used, "%s%s", dot, x->key)
                                : snprintf(buf + used, size - used, "%s%d", dot, x->index));
    }
    return buf;
}

/* The character at p, whose length is `len`. */
static uint32_t utf8_char(const unsigned char *p, size_t len)
{
    uint32_t c = len == 1 ? p[0] : p[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (p[i] & 0x3fu);
    return c;
}

/* Whether a double-quoted scalar keeps it as it is: no control character, line break or BOM. */
static bool is_printable(uint32_t c)
{
    return (c >= 0x20 && c <= 0x7e) ||
           (c >= 0xa0 && c <= 0xfffd && c != 0x2028 && c != 0x2029 && c != 0xfeff) || c >= 0x10000;
}

const char *yaml_quote(const char *text, char *buf, size_t size)
{
    assert(size >= 3);
    const unsigned char *p = (const unsigned char *)text;
    size_t at = 0, left = strlen(text);
    buf[at++] = '"';
    for (size_t len; left; p += len, left -= len) {
        char out[8];
        len = utf8_length(p, left);
        uint32_t c = len ? utf8_char(p, len) : '?';
        len = len ? len : 1;
        if (c == '"' || c == '\\')
            snprintf(out, sizeof out, "\\%c", (char)c);
        else if (c == '?')
            snprintf(out, sizeof out, "?");
        else if (is_printable(c))
            snprintf(out, sizeof out, "%.*s", (int)len, (const char *)p);
        else
            snprintf(out, sizeof out, c < 0x100 ? "\\x%02X" : "\\u%04X", c & 0xffffu);
        size_t n = strlen(out);
        if (at + n + 2 > size)
            break;
        memcpy(buf + at, out, n);
        at += n;
    }
    buf[at++] = '"';
    buf[at] = 0;
    return buf;
}
