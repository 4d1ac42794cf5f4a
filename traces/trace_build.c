/* Building and writing traces. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/io.h"
#include "sim/base/json.h"
#include "traces/trace.h"
#include "traces/trace_format.h"

struct request {
    char *id, *task;
    int32_t n_prompt, n_output, max_tokens, split;
    bool has_output;
    int32_t *prompt, *output;
    int32_t *top; /* [n_prompt * top_k], -1: not given; NULL when top_k is 0 */
    float *logit;
};

struct choice {
    struct trace_entry entry;
    int32_t request;
};

/* Where the path to a row of a step has got to. */
struct place {
    int32_t n_true, n_wrong;
    uint64_t chain;
};

struct trace_builder {
    char model[128], numerics[64];
    int32_t n_vocab, n_eos, top_k;
    int32_t eos[EXEC_MAX_EOS];
    int32_t n_requests, cap_requests;
    struct request *request;
    size_t n_choices, cap_choices;
    struct choice *choice;
    size_t n_slots; /* a power of two, at least twice n_choices */
    size_t *slot;   /* index into choice, plus 1; 0: free */
    size_t n_places;
    struct place *place;
    struct trace_counts counts;
};

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "out of memory");
}

/* A copy of n elements; a pointer that can be freed for n == 0. */
static void *copy_of(const void *p, size_t n, size_t size)
{
    void *out = malloc(n ? n * size : 1);
    if (out && n)
        memcpy(out, p, n * size);
    return out;
}

static bool good_text(const char *s, size_t size)
{
    return strlen(s) < size && json_utf8(s, strlen(s)) == strlen(s);
}

static int check_tokens(const struct trace_builder *b, const int32_t *token, int32_t n,
                        const char *what, struct err *e)
{
    for (int32_t i = 0; i < n; i++)
        if (token[i] < 0 || token[i] >= b->n_vocab)
            return err_set(e, ERR_RANGE, "token %d of %s is %d: expected 0 to %d", i, what,
                           token[i], b->n_vocab - 1);
    return ERR_OK;
}

static struct request *find_request(const struct trace_builder *b, int32_t request, struct err *e)
{
    if (request >= 0 && request < b->n_requests)
        return &b->request[request];
    err_set(e, ERR_RANGE, "request %d: expected 0 to %d", request, b->n_requests - 1);
    return NULL;
}

int trace_builder_create(const char *model, const char *numerics, int32_t n_vocab,
                         const int32_t *eos, int32_t n_eos, int32_t top_k,
                         struct trace_builder **out, struct err *e)
{
    if (n_vocab < 1 || n_eos < 0 || n_eos > EXEC_MAX_EOS || top_k < 0 || top_k > TRACE_MAX_TOPK ||
        top_k > n_vocab)
        return err_set(e, ERR_RANGE,
                       "vocabulary %d, %d end-of-text tokens, top %d: expected at least 1, at most "
                       "%d and at most %d",
                       n_vocab, n_eos, top_k, EXEC_MAX_EOS, TRACE_MAX_TOPK);
    struct trace_builder *b = calloc(1, sizeof *b);
    if (!b)
        return no_memory(e);
    b->n_vocab = n_vocab;
    b->n_eos = n_eos;
    b->top_k = top_k;
    int code = check_tokens(b, eos, n_eos, "the end-of-text list", e);
    if (!code && (!good_text(model, sizeof b->model) || !good_text(numerics, sizeof b->numerics)))
        code = err_set(e, ERR_RANGE, "the model's name or numerics_id is too long or not UTF-8");
    if (code) {
        free(b);
        return code;
    }
    memcpy(b->model, model, strlen(model));
    memcpy(b->numerics, numerics, strlen(numerics));
    for (int32_t i = 0; i < EXEC_MAX_EOS; i++)
        b->eos[i] = i < n_eos ? eos[i] : -1;
    *out = b;
    return ERR_OK;
}

static void free_request(struct request *r)
{
    free(r->id);
    free(r->task);
    free(r->prompt);
    free(r->output);
    free(r->top);
    free(r->logit);
}

void trace_builder_destroy(struct trace_builder *b)
{
    if (!b)
        return;
    for (int32_t i = 0; i < b->n_requests; i++)
        free_request(&b->request[i]);
    free(b->request);
    free(b->choice);
    free(b->slot);
    free(b->place);
    free(b);
}

/* ---- requests ------------------------------------------------------------------------------- */

static int fill_request(const struct trace_builder *b, struct request *r, const char *id,
                        const char *task, const int32_t *prompt, struct err *e)
{
    size_t n = (size_t)r->n_prompt, cells = n * (size_t)b->top_k;
    r->id = copy_of(id, strlen(id) + 1, 1);
    r->task = copy_of(task, strlen(task) + 1, 1);
    r->prompt = copy_of(prompt, n, sizeof *prompt);
    bool ok = r->id && r->task && r->prompt;
    if (ok && cells) {
        r->top = malloc(cells * sizeof *r->top);
        r->logit = calloc(cells, sizeof *r->logit);
        ok = r->top && r->logit;
        for (size_t i = 0; i < cells && ok; i++)
            r->top[i] = -1;
    }
    if (ok)
        return ERR_OK;
    free_request(r);
    return no_memory(e);
}

int trace_add_request(struct trace_builder *b, const char *id, const char *task, int32_t split,
                      int32_t max_tokens, const int32_t *prompt, int32_t n_prompt, int32_t *index,
                      struct err *e)
{
    if (!id[0] || !task[0] || !good_text(id, 4096) || !good_text(task, 4096))
        return err_set(e, ERR_RANGE, "an id or task is empty, too long or not UTF-8");
    if (n_prompt < 1 || max_tokens < 1 || split < 0 || split > 1)
        return err_set(e, ERR_RANGE,
                       "request '%.80s': %d prompt tokens, max_tokens %d, split %d: expected at "
                       "least 1, at least 1, and 0 or 1",
                       id, n_prompt, max_tokens, split);
    int code = check_tokens(b, prompt, n_prompt, "the prompt", e);
    if (code)
        return code;
    for (int32_t i = 0; i < b->n_requests; i++)
        if (!strcmp(b->request[i].id, id))
            return err_set(e, ERR_SCHEMA, "the id '%.80s' comes twice: expected different ids", id);
    if (b->n_requests == b->cap_requests) {
        int32_t cap = b->cap_requests ? b->cap_requests * 2 : 32;
        struct request *more = realloc(b->request, (size_t)cap * sizeof *more);
        if (!more)
            return no_memory(e);
        b->request = more;
        b->cap_requests = cap;
    }
    struct request *r = &b->request[b->n_requests];
    *r = (struct request){.n_prompt = n_prompt, .max_tokens = max_tokens, .split = split};
    code = fill_request(b, r, id, task, prompt, e);
    if (code)
        return code;
    *index = b->n_requests++;
    return ERR_OK;
}

int trace_add_output(struct trace_builder *b, int32_t request, const int32_t *token, int32_t n,
                     struct err *e)
{
    struct request *r = find_request(b, request, e);
    if (!r)
        return ERR_RANGE;
    if (n < 0 || n > r->max_tokens)
        return err_set(e, ERR_RANGE, "request '%.80s' has %d output tokens: expected 0 to %d",
                       r->id, n, r->max_tokens);
    if (r->has_output) {
        bool same =
            n == r->n_output && (n == 0 || !memcmp(r->output, token, (size_t)n * sizeof *token));
        return same ? ERR_OK
                    : err_set(e, ERR_MISMATCH,
                              "request '%.80s' has two different continuations: the runs do not "
                              "belong together",
                              r->id);
    }
    int code = check_tokens(b, token, n, "the continuation", e);
    if (code)
        return code;
    r->output = copy_of(token, (size_t)n, sizeof *token);
    if (!r->output)
        return no_memory(e);
    r->n_output = n;
    r->has_output = true;
    return ERR_OK;
}

int trace_add_top(struct trace_builder *b, int32_t request, int32_t pos, int32_t n,
                  const int32_t *token, const float *logit, struct err *e)
{
    struct request *r = find_request(b, request, e);
    if (!r)
        return ERR_RANGE;
    if (!b->top_k || pos < 0 || n < 0 || n > r->n_prompt || pos > r->n_prompt - n)
        return err_set(e, ERR_RANGE,
                       "likely tokens at %d to %d: expected positions below %d, and top_k above 0",
                       pos, pos + n - 1, r->n_prompt);
    size_t k = (size_t)b->top_k, cells = (size_t)n * k, from = (size_t)pos * k;
    for (size_t i = 0; i < cells; i++)
        if (token[i] < 0 || token[i] >= b->n_vocab || !isfinite(logit[i]) ||
            (i % k && logit[i] > logit[i - 1]))
            return err_set(e, ERR_RANGE,
                           "likely token %d with logit %g at position %d: expected tokens below %d "
                           "in descending order",
                           token[i], (double)logit[i], pos + (int32_t)(i / k), b->n_vocab);
    if (cells) {
        memcpy(r->top + from, token, cells * sizeof *token);
        memcpy(r->logit + from, logit, cells * sizeof *logit);
    }
    return ERR_OK;
}

/* ---- counterfactuals ------------------------------------------------------------------------ */

static uint64_t slot_hash(int32_t request, const struct trace_entry *c)
{
    uint64_t h = hash_step(c->chain, (uint32_t)request);
    return hash_step(h, (uint64_t)(uint32_t)c->n_true << 32 | (uint32_t)c->n_wrong);
}

/* The slot that holds the key, or the free one where it belongs. */
static size_t *find_slot(const struct trace_builder *b, int32_t request,
                         const struct trace_entry *c)
{
    size_t i = (size_t)slot_hash(request, c) & (b->n_slots - 1);
    for (;; i = (i + 1) & (b->n_slots - 1)) {
        const struct choice *x = b->slot[i] ? &b->choice[b->slot[i] - 1] : NULL;
        if (!x || (x->request == request && trace_entry_order(&x->entry, c) == 0))
            return &b->slot[i];
    }
}

static int grow_choices(struct trace_builder *b, struct err *e)
{
    size_t cap = b->cap_choices ? b->cap_choices * 2 : 256;
    struct choice *more = realloc(b->choice, cap * sizeof *more);
    if (!more)
        return no_memory(e);
    b->choice = more;
    size_t *slots = calloc(cap * 2, sizeof *slots);
    if (!slots)
        return no_memory(e);
    free(b->slot);
    b->slot = slots;
    b->n_slots = cap * 2;
    b->cap_choices = cap;
    for (size_t i = 0; i < b->n_choices; i++)
        *find_slot(b, b->choice[i].request, &b->choice[i].entry) = i + 1;
    return ERR_OK;
}

static int add_entry(struct trace_builder *b, int32_t request, const struct place *p,
                     int32_t choice, struct err *e)
{
    struct trace_entry c = {
        .n_true = p->n_true, .n_wrong = p->n_wrong, .chain = p->chain, .choice = choice};
    if (b->n_choices == b->cap_choices) {
        int code = grow_choices(b, e);
        if (code)
            return code;
    }
    size_t *slot = find_slot(b, request, &c);
    if (*slot) {
        if (b->choice[*slot - 1].entry.choice == choice)
            b->counts.repeated++;
        else
            b->counts.conflicting++;
        return ERR_OK;
    }
    b->choice[b->n_choices++] = (struct choice){.entry = c, .request = request};
    *slot = b->n_choices;
    b->counts.counterfactuals++;
    return ERR_OK;
}

/* One token on. */
static struct place follow(const struct request *r, struct place p, int32_t token)
{
    if (p.n_wrong == 0 && p.n_true < r->n_output && token == r->output[p.n_true]) {
        p.n_true++;
    } else {
        p.n_wrong++;
        p.chain = trace_chain(p.chain, token);
    }
    return p;
}

static struct request *with_output(const struct trace_builder *b, int32_t request, int32_t n_true,
                                   int *code, struct err *e)
{
    struct request *r = find_request(b, request, e);
    *code = ERR_RANGE;
    if (r && !r->has_output)
        *code = err_set(e, ERR_MISMATCH,
                        "request '%.80s' has no continuation yet: add it before its steps", r->id);
    else if (r && (n_true < 0 || n_true > r->n_output))
        err_set(e, ERR_RANGE, "request '%.80s': %d true tokens: expected 0 to %d", r->id, n_true,
                r->n_output);
    else if (r)
        *code = ERR_OK;
    return r;
}

static int check_step(const struct trace_builder *b, const struct request *r, int32_t n_true,
                      int32_t n, const int32_t *token, const int32_t *parent, const int32_t *choice,
                      struct err *e)
{
    if (n < 1)
        return err_set(e, ERR_RANGE, "a step has %d rows: expected at least 1", n);
    int code = check_tokens(b, token, n, "the step", e);
    if (code)
        return code;
    for (int32_t i = 0; i < n; i++) {
        if (choice[i] < -1 || choice[i] >= b->n_vocab)
            return err_set(e, ERR_RANGE, "the choice after row %d is %d: expected -1 to %d", i,
                           choice[i], b->n_vocab - 1);
        if (parent && i > 0 && (parent[i] < 0 || parent[i] >= i))
            return err_set(e, ERR_RANGE, "the parent of row %d is %d: expected 0 to %d", i,
                           parent[i], i - 1);
    }
    int32_t last = n_true ? r->output[n_true - 1] : r->prompt[r->n_prompt - 1];
    if (token[0] != last)
        return err_set(e, ERR_MISMATCH,
                       "request '%.80s': a step after %d true tokens starts with token %d: "
                       "expected %d; the step belongs to another run",
                       r->id, n_true, token[0], last);
    return ERR_OK;
}

int trace_add_step(struct trace_builder *b, int32_t request, int32_t n_true, int32_t n,
                   const int32_t *token, const int32_t *parent, const int32_t *choice,
                   struct err *e)
{
    int code;
    const struct request *r = with_output(b, request, n_true, &code, e);
    if (!code)
        code = check_step(b, r, n_true, n, token, parent, choice, e);
    if (code)
        return code;
    if ((size_t)n > b->n_places) {
        struct place *more = realloc(b->place, (size_t)n * sizeof *more);
        if (!more)
            return no_memory(e);
        b->place = more;
        b->n_places = (size_t)n;
    }
    b->place[0] = (struct place){.n_true = n_true, .chain = TRACE_CHAIN};
    for (int32_t i = 0; i < n && !code; i++) {
        if (i > 0)
            b->place[i] = follow(r, b->place[parent ? parent[i] : i - 1], token[i]);
        const struct place *p = &b->place[i];
        if (choice[i] < 0)
            continue;
        if (p->n_wrong == 0 && p->n_true < r->n_output)
            b->counts.divergent += choice[i] != r->output[p->n_true];
        else
            code = add_entry(b, request, p, choice[i], e);
    }
    return code;
}

struct trace_counts trace_counts(const struct trace_builder *b)
{
    return b->counts;
}

/* ---- writing -------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;
    if (x->request != y->request)
        return x->request < y->request ? -1 : 1;
    return trace_entry_order(&x->entry, &y->entry);
}

/* Sizes and places of everything; returns the file's bytes. */
static uint64_t lay_out(const struct trace_builder *b, struct trace_header *h)
{
    memset(h, 0, sizeof *h);
    memcpy(h->magic, TRACE_MAGIC, sizeof h->magic);
    h->version = TRACE_VERSION;
    h->header_bytes = sizeof *h;
    h->n_vocab = b->n_vocab;
    h->n_eos = b->n_eos;
    memcpy(h->eos, b->eos, sizeof h->eos);
    memcpy(h->model, b->model, sizeof h->model);
    memcpy(h->numerics, b->numerics, sizeof h->numerics);
    h->n_requests = b->n_requests;
    h->top_k = b->top_k;
    h->n_choices = b->n_choices;
    for (int32_t i = 0; i < b->n_requests; i++) {
        const struct request *r = &b->request[i];
        h->n_tokens += (uint64_t)r->n_prompt + (uint64_t)r->n_output;
        h->n_top += b->top_k ? (uint64_t)r->n_prompt : 0;
        h->text_bytes += strlen(r->id) + strlen(r->task) + 2;
    }
    uint64_t k = (uint64_t)b->top_k, at = sizeof *h;
    const uint64_t bytes[TRACE_SECTIONS] = {
        [TRACE_REQUESTS] = (uint64_t)b->n_requests * sizeof(struct trace_record),
        [TRACE_TOKENS] = h->n_tokens * 4,
        [TRACE_TOP_IDS] = h->n_top * k * 4,
        [TRACE_LOGITS] = h->n_top * k * 4,
        [TRACE_CHOICES] = h->n_choices * sizeof(struct trace_entry),
        [TRACE_TEXT] = h->text_bytes,
    };
    for (int i = 0; i < TRACE_SECTIONS; i++) {
        h->section[i].offset = at;
        h->section[i].bytes = (bytes[i] + 7) / 8 * 8;
        at += h->section[i].bytes;
    }
    h->file_bytes = at;
    return at;
}

/* Appends n bytes to a section that is being filled. */
static void put(unsigned char **to, const void *from, size_t n)
{
    if (n)
        memcpy(*to, from, n);
    *to += n;
}

static void fill_sections(const struct trace_builder *b, const struct trace_header *h,
                          const struct choice *sorted, unsigned char *file)
{
    unsigned char *to[TRACE_SECTIONS];
    struct trace_record record = {0};
    uint64_t text = 0;
    for (int i = 0; i < TRACE_SECTIONS; i++)
        to[i] = file + h->section[i].offset;
    for (int32_t i = 0; i < b->n_requests; i++) {
        const struct request *r = &b->request[i];
        size_t cells = (size_t)r->n_prompt * (size_t)b->top_k;
        size_t id = strlen(r->id) + 1, task = strlen(r->task) + 1;
        record.id = text;
        record.task = text + id;
        text += id + task;
        record.n_prompt = r->n_prompt;
        record.n_output = r->n_output;
        record.max_tokens = r->max_tokens;
        record.split = r->split;
        record.n_choices = 0;
        while (record.choice + (uint64_t)record.n_choices < h->n_choices &&
               sorted[record.choice + (uint64_t)record.n_choices].request == i) {
            const struct trace_entry *c = &sorted[record.choice + (uint64_t)record.n_choices].entry;
            put(&to[TRACE_CHOICES], c, sizeof *c);
            record.n_choices++;
        }
        put(&to[TRACE_REQUESTS], &record, sizeof record);
        put(&to[TRACE_TOKENS], r->prompt, (size_t)r->n_prompt * 4);
        put(&to[TRACE_TOKENS], r->output, (size_t)r->n_output * 4);
        put(&to[TRACE_TOP_IDS], r->top, cells * 4);
        put(&to[TRACE_LOGITS], r->logit, cells * 4);
        put(&to[TRACE_TEXT], r->id, id);
        put(&to[TRACE_TEXT], r->task, task);
        record.token += (uint64_t)r->n_prompt + (uint64_t)r->n_output;
        record.top += b->top_k ? (uint64_t)r->n_prompt : 0;
        record.choice += (uint64_t)record.n_choices;
    }
}

int trace_write(const struct trace_builder *b, const char *path, struct err *e)
{
    struct trace_header h;
    const uint16_t probe = 1;
    if (!*(const unsigned char *)&probe)
        return err_at(e, ERR_UNSUPPORTED, path, 0, 0,
                      "this machine is big-endian: traces are written in place, little-endian");
    if (!b->n_requests)
        return err_at(e, ERR_SCHEMA, path, 0, 0, "a trace needs at least one request");
    size_t n = (size_t)lay_out(b, &h);
    unsigned char *file = calloc(1, n);
    struct choice *sorted = copy_of(b->choice, b->n_choices, sizeof *sorted);
    int code;
    if (!file || !sorted) {
        code = no_memory(e);
        goto out;
    }
    if (b->n_choices)
        qsort(sorted, b->n_choices, sizeof *sorted, by_key);
    fill_sections(b, &h, sorted, file);
    for (int i = 0; i < TRACE_SECTIONS; i++)
        h.section[i].crc = hash_crc32(0, file + h.section[i].offset, (size_t)h.section[i].bytes);
    h.crc = hash_crc32(0, &h, offsetof(struct trace_header, crc));
    memcpy(file, &h, sizeof h);
    code = io_write_file(path, file, n, e);
out:
    free(sorted);
    free(file);
    return code;
}
