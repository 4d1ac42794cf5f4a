#include "hwmodels/real/llama_engine.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ggml-backend.h>
#include <llama.h>

#include "hwmodels/real/attention_kernel.h"
#include "hwmodels/real/f16_kernel.h"
#include "hwmodels/real/huge_pages.h"
#include "hwmodels/real/q4_kernel.h"
#include "sim/base/hash.h"
#include "sim/base/io.h"
#include "sim/llm/model.h"

#ifndef TANDEM_LLAMA_BUILD
#define TANDEM_LLAMA_BUILD "unnamed build"
#endif

struct llama_engine {
    struct engine engine; /* must be first */
    struct llama_options options;
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    llama_memory_t memory;
    struct llama_batch batch;
    struct llama_facts facts;
    pthread_mutex_t lock; /* one context: roles that share it take turns */
    int32_t *depth;       /* [max_rows] of the last step's rows, root 0 */
    int32_t *parent;      /* [max_rows] likewise */
    int32_t *leaf;        /* [max_branches] rows without children, the first branch first */
    struct llama_seq {
        int32_t pos, n_leaves; /* of the last step; n_leaves 1: a chain */
    } * seq;                   /* [max_seqs] */
    int32_t last_rows;
};

static struct llama_engine *of(const struct engine *g)
{
    union {
        const struct engine *in;
        struct llama_engine *out;
    } cast = {g}; /* every engine of ours was made writable */
    return cast.out;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- llama.cpp's own words: the first error line of a call, for our messages ---------------- */

static pthread_mutex_t words_lock = PTHREAD_MUTEX_INITIALIZER;
static char words[256];

static void set_words(const char *text)
{
    pthread_mutex_lock(&words_lock);
    if (!*text || !words[0])
        snprintf(words, sizeof words, "%s", text);
    words[strcspn(words, "\n")] = 0;
    pthread_mutex_unlock(&words_lock);
}

static const char *its_words(void)
{
    return words[0] ? words : "it gave no reason";
}

static void on_log(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR)
        set_words(text);
}

static void start_backend(void)
{
    llama_log_set(on_log, NULL);
    llama_backend_init();
}

static void start_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_backend);
}

/* ---- choosing tokens ------------------------------------------------------------------------ */

/* Two passes: the first keeps sixteen maxima side by side, because a compiler may vectorise that
 * without reordering a sum of floats; the second finds where the largest stands. */
static int32_t argmax(const float *x, int32_t n)
{
    enum { LANES = 16 };
    float lane[LANES], m = x[0];
    int32_t i = 0, k = 0;
    for (int32_t j = 0; j < LANES; j++)
        lane[j] = x[0];
    for (; i + LANES <= n; i += LANES)
        for (int32_t j = 0; j < LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    for (int32_t j = 0; j < LANES; j++)
        m = lane[j] > m ? lane[j] : m;
    while (k < n - 1 && x[k] != m)
        k++;
    return k;
}

static void top_k(const float *x, int32_t n, int32_t k, int32_t *top, float *logit)
{
    int32_t used = 0;
    for (int32_t i = 0; i < n; i++) {
        if (used == k && x[i] <= logit[k - 1])
            continue;
        int32_t at = used < k ? used++ : k - 1;
        for (; at > 0 && logit[at - 1] < x[i]; at--) {
            logit[at] = logit[at - 1];
            top[at] = top[at - 1];
        }
        logit[at] = x[i];
        top[at] = i;
    }
}

static void sample(struct llama_engine *g, const struct job_forward *f, struct engine_out *out)
{
    int64_t t0 = now_ns();
    out->n_choice = f->n - f->want_from;
    out->k = f->want == WANT_TOPK ? f->want_k : 0;
    for (int32_t i = 0; i < out->n_choice; i++) {
        const float *x = llama_get_logits_ith(g->context, f->want_from + i);
        if (out->k) {
            top_k(x, g->facts.n_vocab, out->k, out->top + i * out->k, out->logit + i * out->k);
            out->choice[i] = out->top[i * out->k];
        } else {
            out->choice[i] = argmax(x, g->facts.n_vocab);
        }
    }
    out->sample_ns = now_ns() - t0;
}

/* ---- a step --------------------------------------------------------------------------------- */

/* Sequence `s` of ours owns llama.cpp's sequences s * max_branches + 0, 1, ...: the first holds the
 * cache, the others a tree's further branches between its step and its COMMIT. */
static llama_seq_id own(const struct llama_engine *g, int32_t s, int32_t branch)
{
    return s * g->options.max_branches + branch;
}

static void fail(struct engine_out *out, const char *why)
{
    out->status = DONE_FAILED;
    snprintf(out->message, sizeof out->message, "%s", why);
}

/* Fills depth, parent and leaf; returns the number of leaves. */
static int32_t shape(struct llama_engine *g, const struct job_forward *f)
{
    int32_t leaves = 0;
    for (int32_t i = 0; i < f->n; i++) {
        int32_t p = f->parent ? f->parent[i] : i - 1;
        g->parent[i] = p;
        g->depth[i] = p < 0 ? 0 : g->depth[p] + 1;
    }
    if (!f->parent) {
        g->leaf[0] = f->n - 1;
        return 1;
    }
    for (int32_t i = 0; i < f->n; i++) {
        bool childless = true;
        for (int32_t k = i + 1; k < f->n && childless; k++)
            childless = g->parent[k] != i;
        if (!childless)
            continue;
        if (leaves == g->options.max_branches)
            return -1;
        g->leaf[leaves++] = i;
    }
    return leaves;
}

static void add_row(struct llama_engine *g, int32_t token, int32_t pos, bool want)
{
    int32_t i = g->batch.n_tokens++;
    g->batch.token[i] = token;
    g->batch.pos[i] = pos;
    g->batch.n_seq_id[i] = 0;
    g->batch.logits[i] = want;
}

static void fill_batch(struct llama_engine *g, const struct job_forward *f, int32_t leaves)
{
    g->batch.n_tokens = 0;
    for (int32_t i = 0; i < f->n; i++)
        add_row(g, f->token[i], f->pos + g->depth[i], f->want && i >= f->want_from);
    for (int32_t b = 0; b < leaves; b++)
        for (int32_t i = g->leaf[b]; i >= 0; i = g->parent[i])
            g->batch.seq_id[i][g->batch.n_seq_id[i]++] = own(g, f->seq, b);
    /* Padding is behind the first branch; a step that wants all rows computes the padding's too,
     * as a static graph would. */
    int32_t end = f->pos + g->depth[g->leaf[0]] + 1;
    for (int32_t i = f->n; i < f->width; i++) {
        add_row(g, 0, end + i - f->n, f->want && f->want_from == 0);
        g->batch.seq_id[i][g->batch.n_seq_id[i]++] = own(g, f->seq, 0);
    }
}

static void forward(struct llama_engine *g, const struct job_forward *f, struct engine_out *out)
{
    int32_t cached = llama_memory_seq_pos_max(g->memory, own(g, f->seq, 0)) + 1;
    int32_t leaves = shape(g, f);
    if (cached != f->pos) {
        fail(out, "the step is not at the end of the sequence's cache");
        return;
    }
    if (leaves < 0) {
        fail(out, "the draft tree has more branches than the engine was made for");
        return;
    }
    for (int32_t b = 1; b < leaves; b++)
        llama_memory_seq_cp(g->memory, own(g, f->seq, 0), own(g, f->seq, b), -1, -1);
    fill_batch(g, f, leaves);
    int rc = llama_decode(g->context, g->batch);
    if (rc) {
        for (int32_t b = 0; b < leaves; b++)
            llama_memory_seq_rm(g->memory, own(g, f->seq, b), b ? -1 : f->pos, -1);
        out->status = rc == 1 ? DONE_NO_MEMORY : DONE_FAILED;
        snprintf(out->message, sizeof out->message, "llama_decode returned %d for %d rows at %d",
                 rc, f->width, f->pos);
        return;
    }
    llama_synchronize(g->context);
    g->seq[f->seq] = (struct llama_seq){f->pos, leaves};
    g->last_rows = f->width;
    if (f->want)
        sample(g, f, out);
    if (f->width > f->n)
        llama_memory_seq_rm(g->memory, own(g, f->seq, 0), f->pos + g->depth[g->leaf[0]] + 1, -1);
    out->bytes = g->facts.model_bytes;
}

/* ---- commit and copy ------------------------------------------------------------------------ */

static void cut(struct llama_engine *g, int32_t seq, int32_t pos, struct engine_out *out)
{
    if (pos > llama_memory_seq_pos_max(g->memory, own(g, seq, 0)) + 1) {
        fail(out, "the sequence holds fewer tokens than are to be kept");
        return;
    }
    llama_memory_seq_rm(g->memory, own(g, seq, 0), pos, -1);
    for (int32_t b = 1; b < g->options.max_branches; b++)
        llama_memory_seq_rm(g->memory, own(g, seq, b), -1, -1);
    g->seq[seq] = (struct llama_seq){pos, 1};
}

/* The branch that holds the path to `row`: the first leaf below it. */
static int32_t branch_of(const struct llama_engine *g, int32_t row, int32_t leaves)
{
    for (int32_t b = 0; b < leaves; b++)
        for (int32_t i = g->leaf[b]; i >= 0; i = g->parent[i])
            if (i == row)
                return b;
    return -1;
}

static void commit(struct llama_engine *g, const struct job_commit *c, struct engine_out *out)
{
    struct llama_seq *s = &g->seq[c->seq];
    llama_seq_id first = own(g, c->seq, 0);
    int32_t end = c->pos + c->n;
    if (c->n == 0) {
        cut(g, c->seq, c->pos, out);
        return;
    }
    int32_t kept = c->row ? c->row[c->n - 1] : c->n - 1;
    int32_t branch = s->n_leaves == 1 ? 0 : branch_of(g, kept, s->n_leaves);
    if (c->pos != s->pos || branch < 0 || g->depth[kept] != c->n - 1) {
        fail(out, "the rows to keep are no path of the last step");
        return;
    }
    if (branch > 0) {
        llama_memory_seq_rm(g->memory, first, c->pos, -1);
        llama_memory_seq_cp(g->memory, own(g, c->seq, branch), first, c->pos, end);
    }
    llama_memory_seq_rm(g->memory, first, end, -1);
    for (int32_t b = 1; b < s->n_leaves; b++)
        llama_memory_seq_rm(g->memory, own(g, c->seq, b), -1, -1);
    s->n_leaves = 1;
}

static void copy(struct llama_engine *g, const struct job_copy *c, struct engine_out *out)
{
    if (llama_memory_seq_pos_max(g->memory, own(g, c->seq_from, 0)) + 1 < c->n) {
        fail(out, "the sequence holds fewer tokens than are to be copied");
        return;
    }
    cut(g, c->seq_to, 0, out);
    llama_memory_seq_cp(g->memory, own(g, c->seq_from, 0), own(g, c->seq_to, 0), 0, c->n);
}

static void engine_run(struct engine *base, const struct job *job, struct engine_out *out)
{
    struct llama_engine *g = of(base);
    pthread_mutex_lock(&g->lock);
    switch (job->kind) {
    case JOB_FORWARD:
        forward(g, &job->forward, out);
        break;
    case JOB_COMMIT:
        commit(g, &job->commit, out);
        break;
    case JOB_COPY:
        copy(g, &job->copy, out);
        break;
    default:
        fail(out, "llama.cpp runs dynamic shapes: no blocks, graphs or separate heads");
        break;
    }
    pthread_mutex_unlock(&g->lock);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void engine_caps(const struct engine *base, struct exec_caps *out)
{
    const struct llama_options *o = &of(base)->options;
    *out = (struct exec_caps){.features = EXEC_TREES | EXEC_COPIES | EXEC_CALIBRATES,
                              .blocks = 1,
                              .max_rows = o->max_rows,
                              .max_ctx = o->max_ctx,
                              .max_seqs = o->max_seqs,
                              .max_jobs = 64,
                              .max_topk = 16,
                              .max_branches = o->max_branches};
}

static void engine_destroy(struct engine *base)
{
    struct llama_engine *g = of(base);
    if (g->batch.token)
        llama_batch_free(g->batch);
    if (g->context)
        llama_free(g->context);
    if (g->model)
        llama_model_free(g->model);
    pthread_mutex_destroy(&g->lock);
    free(g->depth);
    free(g->parent);
    free(g->leaf);
    free(g->seq);
    free(g);
}

static const struct engine_ops ops = {"llama.cpp", engine_caps, engine_run, engine_destroy};

static int find_facts(struct llama_engine *g, int64_t huge_before, struct err *e)
{
    struct llama_facts *f = &g->facts;
    llama_model_desc(g->model, f->name, sizeof f->name);
    bool attention = g->options.flash ? attention_kernel_start() : f16_kernel_start();
    f->n_vocab = llama_vocab_n_tokens(g->vocab);
    for (int32_t t = 0; t < f->n_vocab && f->n_eos < EXEC_MAX_EOS; t++)
        if (llama_vocab_is_eog(g->vocab, t))
            f->eos[f->n_eos++] = t;
    struct io_map map;
    int rc = io_map_file(g->options.model, &map, e);
    if (rc)
        return rc;
    f->model_bytes = (int64_t)map.n;
    /* Whatever may change a logit's last bits goes into the id. */
    uint64_t h = hash_bytes(map.data, map.n, 0);
    io_unmap(&map);
    /* Half: weights that are not packed again stay in the mapped file. */
    f->huge_pages = huge_before >= 0 && huge_pages_bytes() - huge_before > f->model_bytes / 2;
    snprintf(f->version, sizeof f->version, "%.80s%s%s%s", TANDEM_LLAMA_BUILD,
             q4_kernel_start() ? ", our Q4_0 products" : "", attention ? ", our attention" : "",
             f->huge_pages ? ", huge pages" : "");
    const char *text[] = {TANDEM_LLAMA_BUILD, llama_print_system_info(),
                          g->options.device ? g->options.device : "CPU",
                          g->options.flash ? "kv f16, flash attention, unified cache"
                                           : "kv f16, no flash attention, unified cache"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        h = hash_bytes(text[i], strlen(text[i]), h);
    h = hash_step(h, (uint64_t)g->options.max_rows);
    snprintf(f->numerics, sizeof f->numerics, "%016llx", (unsigned long long)h);
    return ERR_OK;
}

static int make_context(struct llama_engine *g, struct err *e)
{
    const struct llama_options *o = &g->options;
    struct llama_context_params cp = llama_context_default_params();
    cp.n_batch = cp.n_ubatch = (uint32_t)o->max_rows;
    cp.n_seq_max = (uint32_t)(o->max_seqs * o->max_branches);
    /* llama.cpp ends the process where there are fewer cells than sequences. */
    cp.n_ctx = (uint32_t)o->max_ctx > cp.n_seq_max ? (uint32_t)o->max_ctx : cp.n_seq_max;
    cp.n_threads = cp.n_threads_batch = o->threads;
    cp.flash_attn_type = o->flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    cp.kv_unified = true;
    cp.no_perf = true;
    set_words("");
    g->context = llama_init_from_model(g->model, cp);
    if (!g->context)
        return err_set(e, ERR_DEVICE, "llama.cpp made no context of %d tokens: %s; ask for fewer",
                       o->max_ctx, its_words());
    g->memory = llama_get_memory(g->context);
    g->batch = llama_batch_init(o->max_rows, 0, o->max_branches);
    g->depth = calloc((size_t)o->max_rows, sizeof *g->depth);
    g->parent = calloc((size_t)o->max_rows, sizeof *g->parent);
    g->leaf = calloc((size_t)o->max_branches, sizeof *g->leaf);
    g->seq = calloc((size_t)o->max_seqs, sizeof *g->seq);
    if (!g->batch.token || !g->depth || !g->parent || !g->leaf || !g->seq)
        return err_set(e, ERR_NOMEM, "out of memory for steps of %d rows", o->max_rows);
    return ERR_OK;
}

enum { MOST_LAYERS = 512 }; /* llama.cpp ends the process where there are more, or none */

/* llama.cpp does not say where a file is wrong. What is damaged, or no GGUF at all, our own reader
 * refuses with the offset; a header that only we cannot make use of is llama.cpp's to judge. */
static int check_file(const char *path, struct err *e)
{
    struct model_desc m = {0};
    struct err why = {0};
    int rc = model_from_gguf(path, &m, &why);
    if (m.layers > MOST_LAYERS || (rc == ERR_RANGE && m.layers < 1))
        return err_at(e, ERR_RANGE, path, 0, 0,
                      "has %d layers: llama.cpp takes 1 to %d; fetch or convert the model again",
                      m.layers, MOST_LAYERS);
    if (rc != ERR_IO && rc != ERR_CORRUPT && rc != ERR_NOMEM)
        return ERR_OK;
    return err_at(e, rc, why.file[0] ? why.file : path, why.line, why.col, "%s", why.msg);
}

static int load_model(struct llama_engine *g, struct err *e)
{
    const struct llama_options *o = &g->options;
    int rc = check_file(o->model, e);
    if (rc)
        return rc;
    struct llama_model_params mp = llama_model_default_params();
    ggml_backend_dev_t devices[2] = {NULL, NULL};
    bool cpu = !o->device || !strcmp(o->device, "CPU");
    mp.n_gpu_layers = cpu ? 0 : -1;
    if (!cpu) {
        devices[0] = ggml_backend_dev_by_name(o->device);
        if (!devices[0])
            return err_set(e, ERR_USAGE,
                           "no device '%s': `tandem devices` lists those that this build has",
                           o->device);
    }
    mp.devices = devices; /* of the CPU: none besides */
    set_words("");
    huge_pages_ask(!o->small_pages);
    g->model = llama_model_load_from_file(o->model, mp);
    if (!g->model)
        return err_at(e, ERR_DEVICE, o->model, 0, 0, "llama.cpp could not load this model: %s",
                      its_words());
    g->vocab = llama_model_get_vocab(g->model);
    return ERR_OK;
}

void llama_defaults(struct llama_options *o)
{
    *o = (struct llama_options){
        .threads = 1, .max_ctx = 2048, .max_rows = 512, .max_seqs = 2, .max_branches = 8};
}

int llama_engine_create(const struct llama_options *o, struct engine **out, struct err *e)
{
    start_once();
    struct llama_engine *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(e, ERR_NOMEM, "out of memory");
    g->engine.ops = &ops;
    g->options = *o;
    pthread_mutex_init(&g->lock, NULL);
    int64_t huge_before = huge_pages_bytes();
    int rc = load_model(g, e);
    if (!rc)
        rc = make_context(g, e);
    if (!rc)
        rc = find_facts(g, huge_before, e);
    for (int32_t s = 0; !rc && s < o->max_seqs; s++)
        g->seq[s].n_leaves = 1;
    if (rc) {
        engine_destroy(&g->engine);
        return rc;
    }
    *out = &g->engine;
    return ERR_OK;
}

/* ---- what else a model answers -------------------------------------------------------------- */

void llama_engine_facts(const struct engine *g, struct llama_facts *out)
{
    *out = of(g)->facts;
}

int32_t llama_engine_tokenize(const struct engine *g, const char *text, size_t n, int32_t *token,
                              int32_t cap)
{
    int32_t got = llama_tokenize(of(g)->vocab, text, (int32_t)n, token, cap, true, true);
    return got < 0 ? -1 : got;
}

const float *llama_engine_logits(const struct engine *g, int32_t row)
{
    assert(row < of(g)->last_rows);
    return llama_get_logits_ith(of(g)->context, row);
}

int32_t llama_devices(struct llama_device *out, int32_t cap)
{
    static const char *const type[] = {"CPU", "GPU", "iGPU", "accelerator"};
    start_once();
    int32_t n = (int32_t)ggml_backend_dev_count();
    for (int32_t i = 0; i < n && i < cap; i++) {
        ggml_backend_dev_t d = ggml_backend_dev_get((size_t)i);
        size_t free_bytes = 0, total_bytes = 0;
        ggml_backend_dev_memory(d, &free_bytes, &total_bytes);
        unsigned t = (unsigned)ggml_backend_dev_type(d);
        snprintf(out[i].name, sizeof out[i].name, "%s", ggml_backend_dev_name(d));
        snprintf(out[i].description, sizeof out[i].description, "%s",
                 ggml_backend_dev_description(d));
        snprintf(out[i].type, sizeof out[i].type, "%s",
                 t < sizeof type / sizeof *type ? type[t] : "other");
        out[i].free_bytes = (int64_t)free_bytes;
        out[i].total_bytes = (int64_t)total_bytes;
    }
    return n;
}

/* So that what fails later is the model's fault. */
static int check_writable(const char *part, const char *path, struct err *e)
{
    FILE *f = fopen(part, "wb");
    if (!f || fclose(f))
        return err_at(e, ERR_IO, path, 0, 0, "cannot write: %s", err_system(errno));
    return ERR_OK;
}

static int quantize(const char *in, const char *part, int32_t threads, struct err *e)
{
    start_once();
    set_words("");
    struct llama_model_quantize_params p = llama_model_quantize_default_params();
    p.nthread = threads;
    p.ftype = LLAMA_FTYPE_MOSTLY_Q4_0;
    p.allow_requantize = true;
    p.pure = true;
    if (!llama_model_quantize(in, part, &p))
        return ERR_OK;
    remove(part);
    return err_at(e, ERR_DEVICE, in, 0, 0,
                  "llama.cpp could not requantise this model: %s; is there room for %s?",
                  its_words(), part);
}

int llama_quantize(const char *in, const char *out, int32_t threads, struct err *e)
{
    char *target = NULL, *part = NULL;
    int rc = check_file(in, e);
    if (!rc)
        rc = io_out_paths(out, &target, &part, e);
    if (!rc)
        rc = check_writable(part, out, e);
    if (!rc)
        rc = quantize(in, part, threads, e);
    if (!rc && rename(part, target)) {
        remove(part);
        rc = err_at(e, ERR_IO, out, 0, 0, "could not be written");
    }
    free(target);
    free(part);
    return rc;
}
