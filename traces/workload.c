#include "traces/workload.h"

#include <stdlib.h>
#include <string.h>

#include "sim/base/io.h"
#include "sim/base/json.h"

void workload_init(struct workload *w)
{
    memset(w, 0, sizeof *w);
    arena_init(&w->arena);
}

void workload_fini(struct workload *w)
{
    arena_fini(&w->arena);
    free(w->item);
    memset(w, 0, sizeof *w);
}

static int at(struct err *e, int code, const struct workload_item *i, const char *msg,
              int64_t limit)
{
    return err_at(e, code, i->file, i->line, i->col, msg, (long long)limit);
}

enum { KEY_ID, KEY_TASK, KEY_PROMPT, KEY_MAX_TOKENS };

static const char *const keys[] = {"id", "task", "prompt", "max_tokens", NULL};
static const char *const quoted[] = {"'id'", "'task'", "'prompt'", "'max_tokens'"};
static const int most_bytes[] = {WORKLOAD_MAX_NAME_BYTES, WORKLOAD_MAX_NAME_BYTES,
                                 WORKLOAD_MAX_PROMPT_BYTES};

/* Of a text at a place of its file. */
static int check_text(const char *what, const char *text, int most, const char *file, int line,
                      int col, struct err *e)
{
    size_t n = strlen(text);
    if (n >= 1 && n <= (size_t)most)
        return ERR_OK;
    return err_at(e, ERR_RANGE, file, line, col, "%s has %zu bytes: expected 1 to %d", what, n,
                  most);
}

static int check_item(const struct workload_item *i, const char *task, struct err *e)
{
    const char *const text[] = {i->id, task, i->prompt};
    for (int k = 0; k < KEY_MAX_TOKENS; k++) {
        int code = check_text(quoted[k], text[k], most_bytes[k], i->file, i->line, i->col, e);
        if (code)
            return code;
    }
    if (i->max_tokens < 1 || i->max_tokens > WORKLOAD_MAX_TOKENS)
        return err_at(e, ERR_RANGE, i->file, i->line, i->col,
                      "max_tokens is %d: expected a number from 1 to %d", i->max_tokens,
                      WORKLOAD_MAX_TOKENS);
    return ERR_OK;
}

static int find_task(struct workload *w, const struct workload_item *i, const char *task,
                     int32_t *index, struct err *e)
{
    for (*index = 0; *index < w->n_tasks; ++*index)
        if (!strcmp(w->task[*index], task))
            return ERR_OK;
    if (w->n_tasks == WORKLOAD_MAX_TASKS)
        return at(e, ERR_LIMIT, i, "more than %lld tasks, the limit here", WORKLOAD_MAX_TASKS);
    const char *copy = arena_strdup(&w->arena, task);
    if (!copy)
        return at(e, ERR_NOMEM, i, "out of memory after %lld items", w->n);
    w->task[w->n_tasks++] = copy;
    return ERR_OK;
}

int workload_add(struct workload *w, const struct workload_item *item, const char *task,
                 struct err *e)
{
    int32_t t;
    int code = check_item(item, task, e);
    if (!code)
        code = find_task(w, item, task, &t, e);
    if (code)
        return code;
    if (w->n == WORKLOAD_MAX_ITEMS)
        return at(e, ERR_LIMIT, item, "more than %lld items, the limit here", WORKLOAD_MAX_ITEMS);
    if (w->n == w->cap) {
        int32_t cap = w->cap ? w->cap * 2 : 64;
        struct workload_item *more = realloc(w->item, (size_t)cap * sizeof *more);
        if (!more)
            return at(e, ERR_NOMEM, item, "out of memory after %lld items", w->n);
        w->item = more;
        w->cap = cap;
    }
    struct workload_item *i = &w->item[w->n];
    *i = *item;
    i->task = t;
    i->split = SPLIT_HELD_OUT;
    i->id = arena_strdup(&w->arena, item->id);
    i->prompt = arena_strdup(&w->arena, item->prompt);
    /* the items of one file share its name */
    if (w->n > 0 && !strcmp(w->item[w->n - 1].file, item->file))
        i->file = w->item[w->n - 1].file;
    else
        i->file = arena_strdup(&w->arena, item->file);
    if (!i->id || !i->prompt || !i->file)
        return at(e, ERR_NOMEM, item, "out of memory after %lld items", w->n);
    w->n++;
    return ERR_OK;
}

static int by_id(const void *a, const void *b)
{
    const struct workload_item *const *x = a, *const *y = b;
    int order = strcmp((*x)->id, (*y)->id);
    /* the same array: file order among equals */
    return order ? order : (*x > *y) - (*x < *y);
}

static int check_ids(const struct workload *w, struct err *e)
{
    const struct workload_item **sorted = malloc((size_t)w->n * sizeof *sorted);
    const struct workload_item *again = NULL, *first = NULL;
    if (!sorted)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < w->n; i++)
        sorted[i] = &w->item[i];
    qsort(sorted, (size_t)w->n, sizeof *sorted, by_id);
    for (int32_t i = 1; i < w->n; i++)
        if (!strcmp(sorted[i - 1]->id, sorted[i]->id) && (!again || sorted[i] < again)) {
            again = sorted[i];
            first = sorted[i - 1];
        }
    free(sorted);
    if (!again)
        return ERR_OK;
    char line[16] = "";
    if (first->line > 0)
        snprintf(line, sizeof line, ":%d", first->line);
    return err_at(e, ERR_SCHEMA, again->file, again->line, again->col,
                  "the id '%s' comes twice, first in %s%s: expected a different id for every item",
                  again->id, first->file, line);
}

int workload_finish(struct workload *w, enum split_rule rule, const char *name, struct err *e)
{
    int32_t seen[WORKLOAD_MAX_TASKS] = {0};
    if (!w->n)
        return err_at(e, ERR_SCHEMA, name, 0, 0,
                      "no prompts here: expected at least one line with id, task, prompt and "
                      "max_tokens");
    int code = check_ids(w, e);
    if (code)
        return code;
    for (int32_t i = 0; i < w->n; i++) {
        bool odd = seen[w->item[i].task]++ % 2 == 0; /* the first is item 1 */
        w->item[i].split = rule == SPLIT_ALTERNATE && odd ? SPLIT_CALIBRATION : SPLIT_HELD_OUT;
    }
    return ERR_OK;
}

/* ---- reading and writing -------------------------------------------------------------------- */

/* Texts of one line, kept until the item is added. */
struct line {
    char *text[KEY_MAX_TOKENS];
};

static int read_member(struct json_reader *r, int key, struct line *l, struct workload_item *item,
                       struct err *e)
{
    struct json_token t;
    if (key == KEY_MAX_TOKENS) {
        int code = json_expect(r, JSON_INT, quoted[key], &t, e);
        if (code)
            return code;
        if (t.i < 1 || t.i > WORKLOAD_MAX_TOKENS)
            return err_at(e, ERR_RANGE, r->name, t.line, t.col,
                          "'max_tokens' is %lld: expected a number from 1 to %d", (long long)t.i,
                          WORKLOAD_MAX_TOKENS);
        item->max_tokens = (int32_t)t.i;
        return ERR_OK;
    }
    int code = json_expect(r, JSON_STRING, quoted[key], &t, e);
    if (!code)
        code = check_text(quoted[key], t.text, most_bytes[key], r->name, t.line, t.col, e);
    if (code)
        return code;
    l->text[key] = malloc(t.n + 1);
    if (!l->text[key])
        return err_at(e, ERR_NOMEM, r->name, t.line, t.col, "out of memory");
    memcpy(l->text[key], t.text, t.n + 1);
    if (key == KEY_ID) {
        item->line = t.line;
        item->col = t.col;
    } else if (key == KEY_PROMPT) {
        item->prompt_col = t.col;
    }
    return ERR_OK;
}

static int read_line(struct json_reader *r, struct workload *w, struct err *e)
{
    struct json_token t;
    struct line l = {{NULL}};
    struct workload_item item = {.file = r->name};
    uint32_t seen = 0;
    int key;
    int code = json_expect(r, JSON_OBJECT, "the line", &t, e);
    while (!code) {
        code = json_member(r, keys, 15, &seen, &key, e);
        if (code || key < 0)
            break;
        code = read_member(r, key, &l, &item, e);
    }
    if (!code)
        code = json_expect(r, JSON_END, "what follows the object", &t, e);
    if (!code) {
        item.id = l.text[KEY_ID];
        item.prompt = l.text[KEY_PROMPT];
        code = workload_add(w, &item, l.text[KEY_TASK], e);
    }
    for (int i = 0; i < KEY_MAX_TOKENS; i++)
        free(l.text[i]);
    return code;
}

int workload_load_bytes(const char *name, const char *bytes, size_t n, enum split_rule rule,
                        struct workload *w, struct err *e)
{
    struct json_lines lines;
    struct json_reader r;
    int code = ERR_OK;
    workload_init(w);
    json_lines_init(&lines, name, bytes, n);
    while (!code && json_lines_next(&lines, &r)) {
        code = read_line(&r, w, e);
        json_fini(&r);
    }
    return code ? code : workload_finish(w, rule, name, e);
}

int workload_load(const char *path, enum split_rule rule, struct workload *w, struct err *e)
{
    char *data;
    size_t n;
    workload_init(w);
    int code = io_read_file(path, WORKLOAD_MAX_FILE_BYTES, &data, &n, e);
    if (code)
        return code;
    code = workload_load_bytes(path, data, n, rule, w, e);
    free(data);
    return code;
}

int32_t workload_choose(const struct workload *w, enum split split, int32_t max, int32_t *index)
{
    int32_t next[WORKLOAD_MAX_TASKS] = {0}; /* where each task looks on */
    int32_t n = 0;
    for (bool found = true; found && n < max;) {
        found = false;
        for (int32_t t = 0; t < w->n_tasks && n < max; t++) {
            int32_t i = next[t];
            while (i < w->n && (w->item[i].task != t || w->item[i].split != split))
                i++;
            next[t] = i + 1;
            if (i < w->n) {
                index[n++] = i;
                found = true;
            } else {
                next[t] = w->n;
            }
        }
    }
    return n;
}

int workload_save(const struct workload *w, const char *path, struct err *e)
{
    struct io_out out;
    struct json_writer json;
    int code = io_out_open(&out, path, e);
    if (code)
        return code;
    json_writer_init(&json, out.file, 0);
    for (int32_t i = 0; i < w->n && !code; i++) {
        json_object(&json, NULL);
        json_string(&json, keys[KEY_ID], w->item[i].id);
        json_string(&json, keys[KEY_TASK], w->task[w->item[i].task]);
        json_string(&json, keys[KEY_PROMPT], w->item[i].prompt);
        json_int(&json, keys[KEY_MAX_TOKENS], w->item[i].max_tokens);
        json_close(&json);
        code = json_line(&json);
    }
    if (code)
        err_at(e, code, path, 0, 0, "cannot write: %s", err_text(code));
    int closed = io_out_close(&out, code == ERR_OK, e);
    return code ? code : closed;
}
