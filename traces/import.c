/* Other people's prompts as workloads. */
#include <stdlib.h>
#include <string.h>

#include "sim/base/io.h"
#include "sim/base/json.h"
#include "traces/workload.h"

/* What an importer finds in one line or file; texts are its own. */
struct found {
    char *id, *task, *prompt;
    int line, col; /* of the id, or of the line */
    int64_t later_turns;
};

int import_from_name(const char *name, enum import_from *out, struct err *e)
{
    static const char *const known[] = {
        [IMPORT_SPEC_BENCH] = "spec-bench", [IMPORT_TEXT] = "text", [IMPORT_JSONL] = "jsonl"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(name, known[i])) {
            *out = (enum import_from)i;
            return ERR_OK;
        }
    return err_set(e, ERR_USAGE, "cannot import from '%s': expected spec-bench, text or jsonl",
                   name);
}

static int keep(struct json_reader *r, const struct json_token *t, char **out, struct err *e)
{
    if (*out)
        return err_at(e, ERR_SCHEMA, r->name, t->line, t->col,
                      "the value comes twice in this line: remove one");
    *out = malloc(t->n + 1);
    if (!*out)
        return err_at(e, ERR_NOMEM, r->name, t->line, t->col, "out of memory");
    memcpy(*out, t->text, t->n + 1);
    return ERR_OK;
}

/* question_id is a number in the published file; a string is taken too. */
static int read_id(struct json_reader *r, struct found *f, struct err *e)
{
    struct json_token t;
    char digits[24];
    int code = json_next(r, &t, e);
    if (code)
        return code;
    if (t.type == JSON_INT) {
        t.n = (size_t)snprintf(digits, sizeof digits, "%lld", (long long)t.i);
        t.text = digits;
    } else if (t.type != JSON_STRING || strlen(t.text) != t.n) {
        return json_wrong(r, &t, "'question_id'", "a whole number, or a string without U+0000", e);
    }
    f->line = t.line;
    f->col = t.col;
    return keep(r, &t, &f->id, e);
}

static int read_turns(struct json_reader *r, struct found *f, struct err *e)
{
    struct json_token list, t;
    int depth = r->depth;
    int code = json_expect(r, JSON_ARRAY, "'turns'", &list, e);
    if (!code)
        code = json_next(r, &t, e);
    if (!code && t.type == JSON_ARRAY_END)
        return err_at(e, ERR_SCHEMA, r->name, list.line, list.col,
                      "'turns' is [], without a text: expected at least one string, of which the "
                      "first becomes the prompt; put it in, or remove the line");
    if (!code && (t.type != JSON_STRING || strlen(t.text) != t.n))
        return json_wrong(r, &t, "the first of 'turns'", "a string without U+0000", e);
    if (!code)
        code = keep(r, &t, &f->prompt, e);
    while (!code && r->depth > depth) {
        bool starts = r->depth == depth + 1;
        code = json_next(r, &t, e);
        f->later_turns += starts && !code && t.type != JSON_ARRAY_END;
    }
    return code;
}

static int read_text(struct json_reader *r, const char *what, char **out, struct err *e)
{
    struct json_token t;
    int code = json_expect(r, JSON_STRING, what, &t, e);
    return code ? code : keep(r, &t, out, e);
}

static bool is(const struct json_token *t, const char *key)
{
    return strlen(key) == t->n && !memcmp(key, t->text, t->n);
}

static int read_member(const struct import_options *o, struct json_reader *r,
                       const struct json_token *key, struct found *f, struct err *e)
{
    struct json_token t;
    if (o->from == IMPORT_JSONL && is(key, o->field))
        return read_text(r, "the field", &f->prompt, e);
    if (o->from == IMPORT_SPEC_BENCH) {
        if (is(key, "question_id"))
            return read_id(r, f, e);
        if (is(key, "category"))
            return read_text(r, "'category'", &f->task, e);
        if (is(key, "turns"))
            return read_turns(r, f, e);
    }
    return json_skip(r, &t, e);
}

static int read_object(const struct import_options *o, struct json_reader *r, struct found *f,
                       struct err *e)
{
    struct json_token t;
    int code = json_expect(r, JSON_OBJECT, "the line", &t, e);
    f->line = t.line;
    f->col = t.col;
    while (!code) {
        code = json_next(r, &t, e);
        if (code || t.type == JSON_OBJECT_END)
            break;
        code = read_member(o, r, &t, f, e);
    }
    struct json_token end = t;
    if (!code)
        code = json_expect(r, JSON_END, "what follows the object", &t, e);
    if (code)
        return code;
    const char *lacks = NULL;
    if (o->from == IMPORT_SPEC_BENCH)
        lacks = !f->id ? "question_id" : !f->task ? "category" : !f->prompt ? "turns" : NULL;
    else if (!f->prompt)
        lacks = o->field;
    if (lacks)
        return err_at(e, ERR_SCHEMA, r->name, end.line, end.col,
                      "the object lacks '%s': add it, or name the right %s", lacks,
                      o->from == IMPORT_SPEC_BENCH ? "--from" : "--field");
    return ERR_OK;
}

/* "b" for "a/b.c": the file's name without folder and extension. */
static void stem(const char *path, char *buf, size_t size)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    snprintf(buf, size, "%.*s", (int)(n < size ? n : size - 1), base);
}

static int add(const struct import_options *o, const char *path, const struct found *f,
               struct workload *w, struct err *e)
{
    char name[WORKLOAD_MAX_NAME_BYTES - 24], id[WORKLOAD_MAX_NAME_BYTES + 1];
    stem(path, name, sizeof name);
    if (json_utf8(name, strlen(name)) < strlen(name))
        return err_at(e, ERR_RANGE, path, 0, 0,
                      "the file's name is not UTF-8 or too long to become an id: rename it");
    if (o->from == IMPORT_JSONL)
        snprintf(id, sizeof id, "%s-%d", name, f->line);
    else
        snprintf(id, sizeof id, "%s", name);
    struct workload_item item = {.id = f->id ? f->id : id,
                                 .prompt = f->prompt,
                                 .max_tokens = o->max_tokens,
                                 .file = path,
                                 .line = f->line,
                                 .col = f->col};
    return workload_add(w, &item, o->task ? o->task : f->task ? f->task : name, e);
}

static int import_lines(const struct import_options *o, const char *path, const char *data,
                        size_t n, struct workload *w, struct err *e)
{
    struct json_lines lines;
    struct json_reader r;
    int code = ERR_OK;
    json_lines_init(&lines, path, data, n);
    while (!code && json_lines_next(&lines, &r)) {
        struct found f = {0};
        code = read_object(o, &r, &f, e);
        if (!code)
            code = add(o, path, &f, w, e);
        w->n_turns_left_out += code ? 0 : f.later_turns;
        json_fini(&r);
        free(f.id);
        free(f.task);
        free(f.prompt);
    }
    return code;
}

static int import_text(const struct import_options *o, const char *path, const char *data, size_t n,
                       struct workload *w, struct err *e)
{
    size_t good = json_utf8(data, n);
    const char *nul = n ? memchr(data, 0, n) : NULL;
    if (nul && (size_t)(nul - data) < good)
        good = (size_t)(nul - data);
    if (good < n) {
        int line = 1, col = 1;
        for (size_t i = 0; i < good; i++) {
            bool end = data[i] == '\n';
            line += end;
            col = end ? 1 : col + (((unsigned char)data[i] & 0xc0) != 0x80);
        }
        return err_at(e, ERR_PARSE, path, line, col,
                      "found byte 0x%02x, which is no text in UTF-8: save the file as UTF-8",
                      (unsigned)(unsigned char)data[good]);
    }
    /* editors end a file with a line feed that nobody typed */
    if (n && data[n - 1] == '\n')
        n--;
    if (n && data[n - 1] == '\r')
        n--;
    struct found f = {.prompt = malloc(n + 1)};
    if (!f.prompt)
        return err_at(e, ERR_NOMEM, path, 0, 0, "out of memory");
    if (n)
        memcpy(f.prompt, data, n);
    f.prompt[n] = 0;
    int code = add(o, path, &f, w, e);
    free(f.prompt);
    return code;
}

static int check_options(const struct import_options *o, int n_files, struct err *e)
{
    if (n_files < 1)
        return err_set(e, ERR_USAGE, "nothing to import: name at least one file");
    if (o->from == IMPORT_JSONL && (!o->field || !o->field[0]))
        return err_set(e, ERR_USAGE, "--from jsonl needs --field: the field with the prompt");
    if (o->from != IMPORT_JSONL && o->field)
        return err_set(e, ERR_USAGE, "--field '%s' is for --from jsonl only: leave it out",
                       o->field);
    if (o->max_tokens < 1 || o->max_tokens > WORKLOAD_MAX_TOKENS)
        return err_set(e, ERR_USAGE, "--max-tokens is %d: expected a number from 1 to %d",
                       o->max_tokens, WORKLOAD_MAX_TOKENS);
    const char *task = o->task;
    if (task && (!task[0] || strlen(task) > WORKLOAD_MAX_NAME_BYTES ||
                 json_utf8(task, strlen(task)) < strlen(task)))
        return err_set(e, ERR_USAGE, "--task is no text of 1 to %d bytes", WORKLOAD_MAX_NAME_BYTES);
    return ERR_OK;
}

int workload_import_bytes(const struct import_options *o, const char *name, const char *bytes,
                          size_t n, struct workload *w, struct err *e)
{
    return o->from == IMPORT_TEXT ? import_text(o, name, bytes, n, w, e)
                                  : import_lines(o, name, bytes, n, w, e);
}

int workload_import(const struct import_options *o, const char *const *file, int n_files,
                    struct workload *w, struct err *e)
{
    workload_init(w);
    int code = check_options(o, n_files, e);
    for (int i = 0; i < n_files && !code; i++) {
        char *data;
        size_t n;
        code = io_read_file(file[i], WORKLOAD_MAX_FILE_BYTES, &data, &n, e);
        if (code)
            break;
        code = workload_import_bytes(o, file[i], data, n, w, e);
        free(data);
    }
    return code ? code : workload_finish(w, SPLIT_ALTERNATE, file[0], e);
}
