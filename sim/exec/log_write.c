#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/base/hash.h"
#include "sim/base/io.h"
#include "sim/exec/log_code.h"

struct log_writer {
    FILE *f;
    char *path, *part;
    struct log_bytes record;
    uint32_t crc;
    int64_t n_records, base_ns;
    uint64_t actions_hash;
    int code, io; /* the first error; its errno when it is ERR_IO */
};

/* ---- header --------------------------------------------------------------------------------- */

static void put_type(FILE *f, const char *key, const char *name, const struct param *spec,
                     const int64_t *value)
{
    char text[LOG_MAX_HEADER];
    param_format(spec, value, text, sizeof text);
    fprintf(f, "%s: %s%s%s\n", key, name, text[0] ? " " : "", text);
}

static void put_list(FILE *f, const char *key, const int32_t *value, int32_t n)
{
    fprintf(f, "%s: ", key);
    for (int32_t i = 0; i < n; i++)
        fprintf(f, "%s%" PRId32, i ? " " : "", value[i]);
    fputc('\n', f);
}

static void put_caps(FILE *f, const struct exec_caps *c)
{
    const char *gap = "";
    fprintf(f, "features: ");
    for (const struct log_feature *x = log_features; x->name; x++)
        if (c->features & x->bit) {
            fprintf(f, "%s%s", gap, x->name);
            gap = " ";
        }
    fprintf(f,
            "\nblocks: %" PRId32 "\nmax_rows: %" PRId32 "\nmax_ctx: %" PRId32 "\nmax_seqs: %" PRId32
            "\nmax_jobs: %" PRId32 "\nmax_topk: %" PRId32 "\nn_slots: %" PRId32 "\n",
            c->blocks, c->max_rows, c->max_ctx, c->max_seqs, c->max_jobs, c->max_topk, c->n_slots);
    put_list(f, "graph_widths", c->graph_width, c->n_graphs);
    bool shared = false;
    for (int32_t g = 0; g < c->n_graphs; g++)
        shared = shared || c->graph_weights[g];
    if (shared)
        put_list(f, "graph_weights", c->graph_weights, c->n_graphs);
}

/* All lines but the last. */
static void put_header(FILE *f, const char *executor, const struct run_setup *s,
                       const struct exec_caps *caps)
{
    fprintf(f, "tandem-log: %d\nexecutor: %s\nversion: %s\nmodel: %s\ndevice: %s\n", LOG_VERSION,
            executor, s->version, s->model, s->device);
    fprintf(f, "roles: %s\nnumerics: %s\n", s->roles, s->numerics);
    put_type(f, "policy", s->policy->name, s->policy->params, s->policy_param);
    for (int32_t i = 0; i < s->n_drafters; i++) {
        char key[24];
        snprintf(key, sizeof key, "drafter%" PRId32, i);
        const struct run_drafter *d = &s->drafter[i];
        put_type(f, key, d->type->name, d->type->params, d->param);
    }
    fprintf(f, "n_vocab: %" PRId32 "\n", s->n_vocab);
    put_list(f, "eos", s->eos, s->n_eos);
    fprintf(f, "max_requests: %" PRId32 "\nseed: %016" PRIx64 "\n", s->max_requests, s->seed);
    put_caps(f, caps);
    fprintf(f, "belief: %016" PRIx64 "\n", belief_hash(&s->belief));
}

/* The header is read back before it is written, so that no log is made that cannot be read. */
static int write_header(struct log_writer *w, const char *executor, const struct run_setup *setup,
                        const struct exec_caps *caps, struct err *e)
{
    char *text = NULL;
    size_t n = 0;
    struct log_head *head = malloc(sizeof *head);
    FILE *f = open_memstream(&text, &n);
    int rc = ERR_NOMEM;
    if (!head || !f)
        goto out;
    put_header(f, executor, setup, caps);
    if (fflush(f))
        goto out;
    w->crc = hash_crc32(0, text, n);
    fprintf(f, "header_crc32: %08" PRIx32 "\n", w->crc);
    if (fflush(f))
        goto out;
    rc = ERR_LIMIT;
    if (n + 1 > LOG_MAX_HEADER) {
        err_set(e, rc, "the log's header would have %zu bytes, more than the %d that are read back",
                n, LOG_MAX_HEADER);
        goto out;
    }
    rc = log_head_parse(w->path, text, n, head, e);
    if (!rc && (fwrite(text, 1, n, w->f) != n || fputc('\n', w->f) == EOF)) {
        w->io = errno;
        rc = err_set(e, ERR_IO, "cannot write %s: %s", w->part, err_system(w->io));
    }
out:
    if (f)
        fclose(f);
    free(text);
    free(head);
    return rc == ERR_NOMEM ? err_set(e, rc, "out of memory for a log") : rc;
}

/* ---- records -------------------------------------------------------------------------------- */

static int write_record(struct log_writer *w, uint8_t type)
{
    struct log_bytes *b = &w->record;
    size_t payload = b->n;
    /* The head goes behind the payload in the same buffer, to be written in front of it. */
    log_put_u(b, type);
    log_put_u(b, payload);
    if (!w->code && b->code)
        w->code = b->code;
    if (w->code)
        return w->code;
    size_t head = b->n - payload;
    w->crc = hash_crc32(w->crc, b->at + payload, head);
    w->crc = hash_crc32(w->crc, b->at, payload);
    unsigned char crc[4];
    for (int i = 0; i < 4; i++)
        crc[i] = (unsigned char)(w->crc >> (8 * i));
    if (fwrite(b->at + payload, 1, head, w->f) != head ||
        fwrite(b->at, 1, payload, w->f) != payload || fwrite(crc, 1, 4, w->f) != 4) {
        w->io = errno;
        w->code = ERR_IO;
    }
    w->n_records++;
    b->n = 0;
    return w->code;
}

int log_event(struct log_writer *w, const struct event *event, int64_t due_ns)
{
    log_put_event(&w->record, event, due_ns, w->base_ns);
    w->base_ns = event->time_ns;
    return write_record(w, LOG_EVENT);
}

int log_host(struct log_writer *w, int64_t host_ns, const struct host_work *work)
{
    log_put_s(&w->record, host_ns);
    log_put_s(&w->record, work->actions);
    log_put_s(&w->record, work->submits);
    return write_record(w, LOG_HOST);
}

int log_action(struct log_writer *w, const struct action *action)
{
    log_put_action(&w->record, action);
    if (!w->record.code)
        w->actions_hash = action_hash(w->actions_hash, action);
    return write_record(w, LOG_ACTION);
}

/* ---- open and close ------------------------------------------------------------------------- */

static void destroy(struct log_writer *w)
{
    log_bytes_fini(&w->record);
    free(w->path);
    free(w->part);
    free(w);
}

int log_create(const char *path, const char *executor, const struct run_setup *setup,
               const struct exec_caps *caps, struct log_writer **out, struct err *e)
{
    struct log_writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, ERR_NOMEM, "out of memory for a log");
    int rc = io_out_paths(path, &w->path, &w->part, e);
    if (!rc) {
        w->actions_hash = hash_mix(0);
        w->f = fopen(w->part, "wb");
        if (!w->f)
            rc = err_set(e, ERR_IO, "cannot create %s: %s", w->part, err_system(errno));
    }
    if (rc) {
        destroy(w);
        return rc;
    }
    rc = write_header(w, executor, setup, caps, e);
    if (!rc) {
        log_put_belief(&w->record, &setup->belief);
        rc = write_record(w, LOG_BELIEF);
    }
    if (rc) {
        log_close(w, false, NULL);
        return err_set(e, rc, "cannot write the log %s", path);
    }
    *out = w;
    return ERR_OK;
}

static void finish(struct log_writer *w)
{
    int64_t n_records = w->n_records;
    log_put_s(&w->record, n_records);
    log_put_u64(&w->record, w->actions_hash);
    if (!write_record(w, LOG_TRAILER) && (fflush(w->f) || fsync(fileno(w->f)))) {
        w->io = errno;
        w->code = ERR_IO;
    }
}

int log_error(const struct log_writer *w, struct err *e)
{
    return !w->code ? ERR_OK
                    : err_set(e, w->code, "the log %s was not written: %s", w->path,
                              w->code == ERR_IO ? err_system(w->io) : err_text(w->code));
}

int log_close(struct log_writer *w, bool keep, struct err *e)
{
    if (keep)
        finish(w);
    bool closed = !fclose(w->f);
    if (keep && !w->code && (!closed || rename(w->part, w->path))) {
        w->io = errno;
        w->code = ERR_IO;
    }
    int rc = keep ? log_error(w, e) : ERR_OK;
    if (!keep || rc)
        remove(w->part);
    destroy(w);
    return rc;
}
