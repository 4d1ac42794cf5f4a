/* Reading traces: one check of everything at the start, lookups afterwards. */
#include "traces/trace.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/io.h"
#include "sim/base/json.h"
#include "traces/trace_format.h"

struct id_entry {
    const char *id;
    int32_t request;
};

struct trace {
    const char *name; /* for messages, while it is opened */
    struct io_map map;
    void *copy;
    const unsigned char *data;
    size_t n;
    const struct trace_header *h;
    const struct trace_record *record;
    const int32_t *token, *top;
    const float *logit;
    const struct trace_entry *entry;
    const char *text;
    /* [n_tokens] At the place of a request's first token plus n_true: the first counterfactual of
     * the request after as many true tokens, or after more. */
    int32_t *after;
    struct trace_info info;
};

static const char *const section_name[TRACE_SECTIONS] = {
    "requests", "tokens", "top tokens", "logits", "counterfactuals", "texts"};

#define CORRUPT(t, e, ...) err_at((e), ERR_CORRUPT, (t)->name, 0, 0, __VA_ARGS__)

/* Where something lies in the file. */
static size_t offset_of(const struct trace *t, const void *p)
{
    return (size_t)((const unsigned char *)p - t->data);
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static bool is_text(const char *s, size_t size)
{
    const char *end = memchr(s, 0, size);
    return end && json_utf8(s, (size_t)(end - s)) == (size_t)(end - s);
}

/* ---- checks --------------------------------------------------------------------------------- */

static int check_header(const struct trace *t, struct err *e)
{
    const struct trace_header *h = t->h;
    const uint16_t probe = 1;
    if (!*(const unsigned char *)&probe)
        return err_at(e, ERR_UNSUPPORTED, t->name, 0, 0,
                      "this machine is big-endian: traces are read in place, little-endian");
    size_t magic = t->n < sizeof h->magic ? t->n : sizeof h->magic;
    if (t->n && memcmp(t->data, TRACE_MAGIC, magic))
        return CORRUPT(t, e, "offset 0: the file does not start with '%s': expected a trace",
                       TRACE_MAGIC);
    if (t->n < sizeof *h)
        return CORRUPT(t, e, "offset %zu: the file ends in its header of %zu bytes", t->n,
                       sizeof *h);
    if (h->version != TRACE_VERSION)
        return err_at(e, ERR_UNSUPPORTED, t->name, 0, 0,
                      "offset 8: trace version %" PRIu32 ": expected %d; record it again",
                      h->version, TRACE_VERSION);
    uint32_t crc = hash_crc32(0, h, offsetof(struct trace_header, crc));
    if (h->header_bytes != sizeof *h || h->crc != crc)
        return CORRUPT(t, e, "offset 0: the header's checksum does not match: it is damaged");
    if (h->file_bytes < t->n)
        return CORRUPT(t, e,
                       "offset %" PRIu64 ": the trace ends here, and %" PRIu64
                       " more bytes follow: expected none",
                       h->file_bytes, t->n - h->file_bytes);
    if (h->file_bytes > t->n)
        return CORRUPT(t, e, "offset %zu: the file ends here: expected %" PRIu64 " bytes", t->n,
                       h->file_bytes);
    if (h->n_vocab < 1 || h->n_eos < 0 || h->n_eos > EXEC_MAX_EOS || h->n_requests < 1 ||
        h->top_k < 0 || h->top_k > TRACE_MAX_TOPK || h->zero ||
        !is_text(h->model, sizeof h->model) || !is_text(h->numerics, sizeof h->numerics))
        return CORRUPT(t, e, "offset 24: the header's numbers and names contradict the format");
    for (int i = 0; i < EXEC_MAX_EOS; i++)
        if (i < h->n_eos ? h->eos[i] < 0 || h->eos[i] >= h->n_vocab : h->eos[i] != -1)
            return CORRUPT(t, e, "offset %zu: end-of-text token %d is %d, outside the vocabulary",
                           offset_of(t, &h->eos[i]), i, h->eos[i]);
    return ERR_OK;
}

/* Sections follow one another without gaps, with the sizes that the header's counts ask for. */
static int check_sections(struct trace *t, struct err *e)
{
    const struct trace_header *h = t->h;
    if (h->n_tokens > t->n || h->n_choices > t->n || h->text_bytes > t->n || h->n_top > t->n ||
        (h->n_top && !h->top_k))
        return CORRUPT(t, e, "offset %zu: the header counts more than the file can hold",
                       offset_of(t, &h->n_tokens));
    uint64_t k = (uint64_t)h->top_k;
    const uint64_t bytes[TRACE_SECTIONS] = {
        [TRACE_REQUESTS] = (uint64_t)h->n_requests * sizeof(struct trace_record),
        [TRACE_TOKENS] = padded(h->n_tokens * 4),
        [TRACE_TOP_IDS] = padded(h->n_top * k * 4),
        [TRACE_LOGITS] = padded(h->n_top * k * 4),
        [TRACE_CHOICES] = h->n_choices * sizeof(struct trace_entry),
        [TRACE_TEXT] = padded(h->text_bytes),
    };
    uint64_t at = sizeof *h;
    for (int i = 0; i < TRACE_SECTIONS; i++) {
        const struct trace_span *s = &h->section[i];
        if (s->offset != at || s->bytes != bytes[i] || s->bytes > t->n - at || s->zero)
            return CORRUPT(t, e,
                           "offset %" PRIu64 ": the section of %s is %" PRIu64 " bytes at %" PRIu64
                           ": expected %" PRIu64 " bytes here",
                           at, section_name[i], s->bytes, s->offset, bytes[i]);
        if (hash_crc32(0, t->data + at, (size_t)s->bytes) != s->crc)
            return CORRUPT(t, e,
                           "offset %" PRIu64
                           ": the checksum of the %s does not match: bytes %" PRIu64 " to %" PRIu64
                           " are damaged",
                           at, section_name[i], at, at + s->bytes - 1);
        at += s->bytes;
    }
    if (at != t->n)
        return CORRUPT(t, e, "offset %" PRIu64 ": the file goes on after its last section", at);
    const void *p[TRACE_SECTIONS];
    for (int i = 0; i < TRACE_SECTIONS; i++)
        p[i] = t->data + h->section[i].offset;
    t->record = p[TRACE_REQUESTS];
    t->token = p[TRACE_TOKENS];
    t->top = p[TRACE_TOP_IDS];
    t->logit = p[TRACE_LOGITS];
    t->entry = p[TRACE_CHOICES];
    t->text = p[TRACE_TEXT];
    return ERR_OK;
}

static int check_top(const struct trace *t, struct err *e)
{
    const int32_t k = t->h->top_k;
    for (uint64_t row = 0; row < t->h->n_top; row++) {
        const int32_t *id = t->top + row * (uint64_t)k;
        const float *logit = t->logit + row * (uint64_t)k;
        for (int32_t i = 0; i < k; i++) {
            bool absent = id[0] == -1 && id[i] == -1 && logit[i] == 0;
            bool present = id[i] >= 0 && id[i] < t->h->n_vocab && isfinite(logit[i]) &&
                           (i == 0 || logit[i] <= logit[i - 1]) && id[0] != -1;
            if (!absent && !present)
                return CORRUPT(t, e, "offset %zu: token %d with logit %g is no likely token",
                               offset_of(t, &id[i]), id[i], (double)logit[i]);
        }
    }
    return ERR_OK;
}

static int check_entries(const struct trace *t, const struct trace_record *r, struct err *e)
{
    const struct trace_entry *c = t->entry + r->choice;
    for (int32_t i = 0; i < r->n_choices; i++) {
        bool place = c[i].n_true >= 0 && c[i].n_true <= r->n_output &&
                     (c[i].n_wrong > 0 || (c[i].n_wrong == 0 && c[i].n_true == r->n_output));
        if (!place || c[i].choice < 0 || c[i].choice >= t->h->n_vocab || c[i].zero ||
            (i > 0 && trace_entry_order(&c[i - 1], &c[i]) >= 0))
            return CORRUPT(t, e, "offset %zu: a counterfactual is out of range or out of order",
                           offset_of(t, &c[i]));
    }
    return ERR_OK;
}

/* Requests lie in the sections one after another. */
static int check_requests(const struct trace *t, struct err *e)
{
    const struct trace_header *h = t->h;
    uint64_t token = 0, top = 0, choice = 0;
    if (h->text_bytes == 0 || t->text[h->text_bytes - 1])
        return CORRUPT(t, e, "offset %zu: the texts do not end with a NUL", offset_of(t, t->text));
    for (int32_t i = 0; i < h->n_requests; i++) {
        const struct trace_record *r = &t->record[i];
        if (r->n_prompt < 1 || r->n_output < 0 || r->n_choices < 0 || r->max_tokens < 1 ||
            r->n_output > r->max_tokens || r->split < 0 || r->split > 1 || r->zero ||
            r->token != token || r->choice != choice || r->top != top || r->id >= h->text_bytes ||
            r->task >= h->text_bytes)
            return CORRUPT(t, e, "offset %zu: request %d contradicts the format", offset_of(t, r),
                           i);
        token += (uint64_t)r->n_prompt + (uint64_t)r->n_output;
        top += h->top_k ? (uint64_t)r->n_prompt : 0;
        choice += (uint64_t)r->n_choices;
        if (token > h->n_tokens || top > h->n_top || choice > h->n_choices)
            return CORRUPT(t, e, "offset %zu: request %d has more than its sections hold",
                           offset_of(t, r), i);
        const char *id = t->text + r->id, *task = t->text + r->task;
        if (!*id || !*task || json_utf8(id, strlen(id)) < strlen(id) ||
            json_utf8(task, strlen(task)) < strlen(task))
            return CORRUPT(t, e, "offset %zu: the id or task of request %d is empty or not UTF-8",
                           offset_of(t, id), i);
        int code = check_entries(t, r, e);
        if (code)
            return code;
    }
    if (token != h->n_tokens || top != h->n_top || choice != h->n_choices)
        return CORRUPT(t, e, "offset %zu: the requests do not add up to the header's counts",
                       offset_of(t, t->record));
    for (uint64_t i = 0; i < h->n_tokens; i++)
        if (t->token[i] < 0 || t->token[i] >= h->n_vocab)
            return CORRUPT(t, e, "offset %zu: token %d is outside the vocabulary of %d",
                           offset_of(t, &t->token[i]), t->token[i], h->n_vocab);
    return ERR_OK;
}

static int by_id(const void *a, const void *b)
{
    const struct id_entry *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    return order ? order : (x->request > y->request) - (x->request < y->request);
}

static int check_ids(const struct trace *t, struct err *e)
{
    int code = ERR_OK;
    size_t n = (size_t)t->h->n_requests;
    struct id_entry *id = malloc(n * sizeof *id);
    if (!id)
        return err_at(e, ERR_NOMEM, t->name, 0, 0, "out of memory");
    for (size_t i = 0; i < n; i++)
        id[i] = (struct id_entry){t->text + t->record[i].id, (int32_t)i};
    qsort(id, n, sizeof *id, by_id);
    for (size_t i = 1; i < n && !code; i++)
        if (!strcmp(id[i - 1].id, id[i].id))
            code = CORRUPT(t, e, "offset %zu: the id of request %d comes twice",
                           offset_of(t, &t->record[id[i].request]), id[i].request);
    free(id);
    return code;
}

static int index_choices(struct trace *t, struct err *e)
{
    t->after = malloc((size_t)t->h->n_tokens * sizeof *t->after);
    if (!t->after)
        return err_at(e, ERR_NOMEM, t->name, 0, 0, "out of memory");
    for (int32_t i = 0; i < t->h->n_requests; i++) {
        const struct trace_record *r = &t->record[i];
        const struct trace_entry *c = t->entry + r->choice;
        for (int32_t k = 0, n_true = 0; n_true <= r->n_output; n_true++) {
            while (k < r->n_choices && c[k].n_true < n_true)
                k++;
            t->after[r->token + (uint64_t)n_true] = k;
        }
    }
    return ERR_OK;
}

static int check(struct trace *t, struct err *e)
{
    t->h = (const void *)t->data;
    int code = check_header(t, e);
    if (!code)
        code = check_sections(t, e);
    if (!code)
        code = check_requests(t, e);
    if (!code)
        code = check_top(t, e);
    if (!code)
        code = check_ids(t, e);
    if (!code)
        code = index_choices(t, e);
    if (code == ERR_CORRUPT)
        err_more(e, "fetch the file again, or record it with `tandem observe`");
    if (code)
        return code;
    const struct trace_header *h = t->h;
    t->info = (struct trace_info){.model = h->model,
                                  .numerics = h->numerics,
                                  .n_vocab = h->n_vocab,
                                  .n_eos = h->n_eos,
                                  .eos = h->eos,
                                  .n_requests = h->n_requests,
                                  .top_k = h->top_k,
                                  .n_tokens = (int64_t)h->n_tokens,
                                  .n_counterfactuals = (int64_t)h->n_choices};
    t->name = NULL;
    return ERR_OK;
}

/* ---- opening -------------------------------------------------------------------------------- */

int trace_open(const char *path, struct trace **out, struct err *e)
{
    struct trace *t = calloc(1, sizeof *t);
    if (!t)
        return err_at(e, ERR_NOMEM, path, 0, 0, "out of memory");
    t->name = path;
    int code = io_map_file(path, &t->map, e);
    t->data = t->map.data;
    t->n = t->map.n;
    if (!code)
        code = check(t, e);
    if (code) {
        trace_close(t);
        return code;
    }
    *out = t;
    return ERR_OK;
}

int trace_open_bytes(const char *name, const void *bytes, size_t n, struct trace **out,
                     struct err *e)
{
    struct trace *t = calloc(1, sizeof *t);
    if (t)
        t->copy = malloc(n ? n : 1); /* aligned, which `bytes` need not be */
    if (!t || !t->copy) {
        free(t);
        return err_at(e, ERR_NOMEM, name, 0, 0, "out of memory");
    }
    if (n)
        memcpy(t->copy, bytes, n);
    t->name = name;
    t->data = t->copy;
    t->n = n;
    int code = check(t, e);
    if (code) {
        trace_close(t);
        return code;
    }
    *out = t;
    return ERR_OK;
}

void trace_close(struct trace *t)
{
    if (!t)
        return;
    io_unmap(&t->map);
    free(t->copy);
    free(t->after);
    free(t);
}

/* ---- lookups -------------------------------------------------------------------------------- */

const struct trace_info *trace_info(const struct trace *t)
{
    return &t->info;
}

static bool holds(const struct trace *t, int32_t request)
{
    return request >= 0 && request < t->info.n_requests;
}

struct trace_request trace_request(const struct trace *t, int32_t request)
{
    assert(holds(t, request));
    const struct trace_record *r = &t->record[request];
    return (struct trace_request){.id = t->text + r->id,
                                  .task = t->text + r->task,
                                  .n_prompt = r->n_prompt,
                                  .prompt = t->token + r->token,
                                  .n_output = r->n_output,
                                  .output = t->token + r->token + r->n_prompt,
                                  .max_tokens = r->max_tokens,
                                  .split = r->split,
                                  .n_counterfactuals = r->n_choices};
}

/* Where the recorded texts that leave the continuation after n_true tokens begin. */
static struct trace_path leave(const struct trace *t, int32_t request, int32_t n_true)
{
    struct trace_path path = {TRACE_CHAIN, -1};
    if (holds(t, request) && n_true >= 0 && n_true <= t->record[request].n_output)
        path.at = t->after[t->record[request].token + (uint64_t)n_true];
    return path;
}

/* The choice after n_wrong tokens, whose chain *path holds. It was led on through those before. */
static int32_t look_up(const struct trace *t, int32_t request, int32_t n_true, int32_t n_wrong,
                       struct trace_path *path)
{
    if (path->at < 0)
        return -1;
    const struct trace_record *r = &t->record[request];
    const struct trace_entry *c = t->entry + r->choice;
    int32_t i = (int32_t)path->at;
    while (i < r->n_choices && c[i].n_true == n_true && c[i].n_wrong < n_wrong)
        i++;
    path->at = i < r->n_choices && c[i].n_true == n_true ? i : -1;
    for (; i < r->n_choices && c[i].n_true == n_true && c[i].n_wrong == n_wrong; i++)
        if (c[i].chain == path->chain)
            return c[i].choice;
    return -1;
}

int32_t trace_follow(const struct trace *t, int32_t request, int32_t n_true, int32_t n_wrong,
                     int32_t token, struct trace_path *path)
{
    if (n_wrong == 1)
        *path = leave(t, request, n_true);
    path->chain = trace_chain(path->chain, token);
    return look_up(t, request, n_true, n_wrong, path);
}

int32_t trace_choice(const struct trace *t, int32_t request, int32_t n_true, const int32_t *wrong,
                     int32_t n_wrong)
{
    if (n_wrong == 0 && n_true >= 0 && n_true < trace_length(t, request)) {
        const struct trace_record *r = &t->record[request];
        return t->token[r->token + (uint64_t)r->n_prompt + (uint64_t)n_true];
    }
    struct trace_path path = leave(t, request, n_true);
    for (int32_t k = 0; k < n_wrong; k++)
        path.chain = trace_chain(path.chain, wrong[k]);
    return look_up(t, request, n_true, n_wrong, &path);
}

int32_t trace_length(const struct trace *t, int32_t request)
{
    return holds(t, request) ? t->record[request].n_output : 0;
}

int32_t trace_top(const struct trace *t, int32_t request, int32_t pos, int32_t k, int32_t *token,
                  float *logit)
{
    if (!holds(t, request) || pos < 0 || pos >= t->record[request].n_prompt || !t->info.top_k)
        return 0;
    uint64_t at = (t->record[request].top + (uint64_t)pos) * (uint64_t)t->info.top_k;
    if (t->top[at] == -1)
        return 0;
    int32_t n = k < t->info.top_k ? k : t->info.top_k;
    for (int32_t i = 0; i < n; i++) {
        token[i] = t->top[at + (uint64_t)i];
        logit[i] = t->logit[at + (uint64_t)i];
    }
    return n > 0 ? n : 0;
}

struct trace_counterfactual trace_counterfactual(const struct trace *t, int32_t request,
                                                 int32_t index)
{
    assert(holds(t, request) && index >= 0 && index < t->record[request].n_choices);
    const struct trace_entry *c = &t->entry[t->record[request].choice + (uint64_t)index];
    return (struct trace_counterfactual){
        .n_true = c->n_true, .n_wrong = c->n_wrong, .choice = c->choice, .chain = c->chain};
}
