#include "sim/exec/jobs.h"

#include <string.h>

static const char *const kind_name[] = {"?",      "FORWARD", "HEAD", "DRAFT", "CALIBRATE",
                                        "COMMIT", "LOAD",    "FREE", "COPY"};

const char *job_kind_name(uint8_t kind)
{
    return kind < sizeof kind_name / sizeof *kind_name ? kind_name[kind] : "?";
}

static int bad(const struct job *job, const char *field, int64_t value, const char *expected,
               struct err *e)
{
    return err_set(e, ERR_POLICY, "job %lld (%s): %s is %lld, expected %s", (long long)job->id,
                   job_kind_name(job->kind), field, (long long)value, expected);
}

static int lacks(const struct job *job, const char *what, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "job %lld (%s): this executor has no %s; see its caps",
                   (long long)job->id, job_kind_name(job->kind), what);
}

static int outside(int code, const struct job *job, const char *field, int64_t value, int64_t min,
                   int64_t max, struct err *e)
{
    return err_set(e, code, "job %lld (%s): %s is %lld, expected %lld to %lld", (long long)job->id,
                   job_kind_name(job->kind), field, (long long)value, (long long)min,
                   (long long)max);
}

static inline int range(int code, const struct job *job, const char *field, int64_t value,
                        int64_t min, int64_t max, struct err *e)
{
    if (value >= min && value <= max)
        return ERR_OK;
    return outside(code, job, field, value, min, max, e);
}

/* ERR_POLICY below min, ERR_LIMIT above max. */
static inline int size_in(const struct job *job, const char *field, int64_t value, int64_t min,
                          int64_t max, struct err *e)
{
    return range(value < min ? ERR_POLICY : ERR_LIMIT, job, field, value, min, max, e);
}

static int check_parents(const struct exec_caps *caps, const struct job *job, struct err *e)
{
    const int32_t *parent = job->forward.parent;
    if (!parent)
        return ERR_OK;
    bool chain = true;
    for (int32_t i = 0; i < job->forward.n; i++) {
        int rc = range(ERR_POLICY, job, "a row's parent", parent[i], -1, i - 1, e);
        if (rc)
            return rc;
        chain = chain && parent[i] == i - 1;
    }
    return chain || caps->features & EXEC_TREES ? ERR_OK : lacks(job, "trees", e);
}

static int check_want(const struct exec_caps *caps, const struct job *job, bool head, struct err *e)
{
    const struct job_forward *f = &job->forward;
    int rc = range(ERR_POLICY, job, "want", f->want, WANT_NONE, WANT_TOPK, e);
    if (rc || f->want == WANT_NONE)
        return rc;
    if (!head)
        return bad(job, "want", f->want,
                   "0: outputs come from the last block's own head or from a HEAD job", e);
    rc = range(ERR_POLICY, job, "want_from", f->want_from, 0, f->n - 1, e);
    if (rc || f->want != WANT_TOPK)
        return rc;
    if (caps->max_topk == 0)
        return lacks(job, "top-k", e);
    return size_in(job, "want_k", f->want_k, 1, caps->max_topk, e);
}

/* What FORWARD and HEAD have in common. */
static int check_rows(const struct exec_caps *caps, const struct job *job, struct err *e)
{
    const struct job_forward *f = &job->forward;
    int rc = size_in(job, "width", f->width, 1, caps->max_rows, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "n", f->n, 1, f->width, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "seq", f->seq, 0, caps->max_seqs - 1, e);
    if (!rc)
        rc = size_in(job, "pos", f->pos, 0, caps->max_ctx, e);
    if (!rc && !f->token)
        rc = bad(job, "token", 0, "an array of n tokens", e);
    return rc;
}

static int check_head(const struct exec_caps *caps, const struct job *job, struct err *e)
{
    if (!(caps->features & EXEC_BLOCKS))
        return lacks(job, "blocks", e);
    int rc = check_rows(caps, job, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "slot_in", job->forward.slot_in, 0, caps->n_slots - 1, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "slot_out", job->forward.slot_out, -1, -1, e);
    return rc ? rc : check_want(caps, job, true, e);
}

static int check_forward(const struct exec_caps *caps, const struct job *job, struct err *e)
{
    const struct job_forward *f = &job->forward;
    int rc = check_rows(caps, job, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "b1", f->b1, 1, caps->blocks, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "b0", f->b0, 0, f->b1 - 1, e);
    if (rc)
        return rc;
    bool last = f->b1 == caps->blocks;
    if ((f->b0 > 0 || !last || f->slot_out >= 0) && !(caps->features & EXEC_BLOCKS))
        return lacks(job, "blocks", e);
    if (f->graph != 0 && !(caps->features & EXEC_GRAPHS))
        return lacks(job, "static graphs", e);
    rc = range(ERR_POLICY, job, "graph", f->graph, 0, caps->n_graphs, e);
    if (!rc && f->b0 > 0)
        rc = range(ERR_POLICY, job, "slot_in", f->slot_in, 0, caps->n_slots - 1, e);
    else if (!rc)
        rc = range(ERR_POLICY, job, "slot_in", f->slot_in, -1, -1, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "slot_out", f->slot_out, last ? -1 : 0, caps->n_slots - 1, e);
    if (!rc)
        rc = check_parents(caps, job, e);
    return rc ? rc : check_want(caps, job, last && f->slot_out < 0, e);
}

/* The verified step that a DRAFT shows. */
static int check_shown(const struct exec_caps *caps, const struct job *job, struct err *e)
{
    const struct job_draft *d = &job->draft;
    int rc = size_in(job, "n_rows", d->n_rows, 0, caps->max_rows, e);
    if (!rc && d->n_rows > 0 && (!d->row_token || !d->row_choice))
        rc = bad(job, "row_token or row_choice", 0, "arrays of n_rows", e);
    for (int32_t i = 0; !rc && d->row_parent && i < d->n_rows; i++)
        rc = range(ERR_POLICY, job, "a shown row's parent", d->row_parent[i], -1, i - 1, e);
    return rc;
}

static int check_draft(const struct exec_caps *caps, int32_t n_drafters, const struct job *job,
                       struct err *e)
{
    int rc = range(ERR_POLICY, job, "drafter", job->draft.drafter, 0, n_drafters - 1, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "request", job->request, 0, INT32_MAX, e);
    if (rc)
        return rc;
    if (job->kind == JOB_DRAFT) {
        rc = size_in(job, "n", job->draft.n, 0, caps->max_ctx, e);
        if (!rc && job->draft.n > 0 && !job->draft.token)
            rc = bad(job, "token", 0, "an array of n tokens", e);
        if (!rc)
            rc = size_in(job, "max_nodes", job->draft.max_nodes, 0, caps->max_rows, e);
        return rc ? rc : check_shown(caps, job, e);
    }
    const struct job_calibrate *c = &job->calibrate;
    if (!(caps->features & EXEC_CALIBRATES))
        return lacks(job, "calibration", e);
    rc = size_in(job, "n", c->n, 1, caps->max_rows, e);
    if (!rc)
        rc = size_in(job, "k", c->k, 1, caps->max_topk, e);
    if (!rc)
        rc = size_in(job, "pos", c->pos, 0, caps->max_ctx, e);
    if (!rc && (!c->top || !c->logit))
        rc = bad(job, "top or logit", 0, "arrays of n * k", e);
    return rc;
}

static int check_commit(const struct exec_caps *caps, const struct job *job, struct err *e)
{
    const struct job_commit *c = &job->commit;
    int rc = range(ERR_POLICY, job, "seq", c->seq, 0, caps->max_seqs - 1, e);
    if (!rc)
        rc = size_in(job, "pos", c->pos, 0, caps->max_ctx, e);
    if (!rc)
        rc = size_in(job, "n", c->n, 0, caps->max_rows, e);
    for (int32_t i = 0; !rc && c->row && i < c->n; i++)
        rc = range(ERR_POLICY, job, "a row", c->row[i], i ? c->row[i - 1] + 1 : 0,
                   caps->max_rows - 1, e);
    return rc;
}

static int check_graph(const struct exec_caps *caps, const struct job *job, struct err *e)
{
    if (!(caps->features & EXEC_GRAPHS))
        return lacks(job, "static graphs", e);
    int rc = range(ERR_POLICY, job, "graph", job->graph.graph, 1, caps->n_graphs, e);
    return rc ? rc : range(ERR_POLICY, job, "block", job->graph.block, 0, caps->blocks - 1, e);
}

static int check_copy(const struct exec_caps *caps, const struct job *job, struct err *e)
{
    if (!(caps->features & EXEC_COPIES))
        return lacks(job, "copies", e);
    int rc = range(ERR_POLICY, job, "seq_from", job->copy.seq_from, 0, caps->max_seqs - 1, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "seq_to", job->copy.seq_to, 0, caps->max_seqs - 1, e);
    if (!rc && job->copy.seq_from == job->copy.seq_to)
        rc = bad(job, "seq_to", job->copy.seq_to, "another sequence than seq_from", e);
    return rc ? rc : size_in(job, "n", job->copy.n, 0, caps->max_ctx, e);
}

int job_check(const struct exec_caps *caps, int32_t n_roles, int32_t n_drafters,
              const struct job *job, struct err *e)
{
    int rc = range(ERR_POLICY, job, "id", job->id, 1, INT64_MAX, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "role", job->role, 0, n_roles - 1, e);
    if (!rc)
        rc = range(ERR_POLICY, job, "n_wait", job->n_wait, 0, EXEC_MAX_WAIT, e);
    for (int32_t i = 0; !rc && i < job->n_wait; i++)
        rc = range(ERR_POLICY, job, "an id that it waits for", job->wait[i], 1, job->id - 1, e);
    if (rc)
        return rc;
    switch (job->kind) {
    case JOB_FORWARD:
        return check_forward(caps, job, e);
    case JOB_HEAD:
        return check_head(caps, job, e);
    case JOB_DRAFT:
    case JOB_CALIBRATE:
        return check_draft(caps, n_drafters, job, e);
    case JOB_COMMIT:
        return check_commit(caps, job, e);
    case JOB_LOAD:
    case JOB_FREE:
        return check_graph(caps, job, e);
    case JOB_COPY:
        return check_copy(caps, job, e);
    default:
        return bad(job, "kind", job->kind, "a kind of exec.h", e);
    }
}

static size_t topk(const struct exec_caps *caps)
{
    return (size_t)caps->max_rows * (size_t)caps->max_topk;
}

size_t job_words(const struct exec_caps *caps)
{
    size_t n = 3 * (size_t)caps->max_rows + (size_t)caps->max_ctx; /* a DRAFT's */
    return n < topk(caps) ? topk(caps) : n;
}

size_t job_floats(const struct exec_caps *caps)
{
    return topk(caps);
}

static const int32_t *copy_words(int32_t *to, const int32_t *from, int32_t n)
{
    if (!from || n <= 0)
        return NULL;
    memcpy(to, from, (size_t)n * sizeof *to);
    return to;
}

static void copy_draft(struct job_draft *to, const struct job_draft *from, int32_t *words)
{
    int32_t rows = from->n_rows;
    to->token = copy_words(words, from->token, from->n);
    words += from->n;
    to->row_token = copy_words(words, from->row_token, rows);
    to->row_parent = copy_words(words + rows, from->row_parent, rows);
    to->row_choice = copy_words(words + 2 * rows, from->row_choice, rows);
}

void job_copy(struct job *to, const struct job *from, int32_t *words, float *floats)
{
    *to = *from;
    switch (from->kind) {
    case JOB_FORWARD:
    case JOB_HEAD:
        to->forward.token = copy_words(words, from->forward.token, from->forward.n);
        to->forward.parent =
            copy_words(words + from->forward.n, from->forward.parent, from->forward.n);
        break;
    case JOB_DRAFT:
        copy_draft(&to->draft, &from->draft, words);
        break;
    case JOB_CALIBRATE: {
        int32_t n = from->calibrate.n * from->calibrate.k;
        to->calibrate.top = copy_words(words, from->calibrate.top, n);
        memcpy(floats, from->calibrate.logit, (size_t)n * sizeof *floats);
        to->calibrate.logit = floats;
        break;
    }
    case JOB_COMMIT:
        to->commit.row = copy_words(words, from->commit.row, from->commit.n);
        break;
    default:
        break;
    }
}
