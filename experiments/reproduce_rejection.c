/* Rejections by cause, and what of the rejected tokens can be reused.
 *
 * The suffix automaton drafts a chain of DRAFT tokens on committed traces. A rejection is a draft
 * that leaves the target's text before its end: from there on the draft says x, the target y. It is
 * labelled by where the two meet again, that is, where AGAIN tokens in a row are the same after i
 * tokens of x and k of y were passed over, i and k at most WINDOW, i + k as small as possible:
 *   missing    i = 0: the draft lacks k tokens that the target says
 *   synonym    i > 0 and k > 0: the target says it in other words
 *   surplus    k = 0: the draft has i tokens too many
 *   redundant  they do not meet
 * The paper has no class for surplus; here it is redundant with it. Reusable is missing and
 * synonym.
 *
 * Eq. 3 of the paper does not know the target's text: it looks at the target's choices under
 * rejected tokens, which a trace holds where a recorded run saw them agree. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/published.h"
#include "experiments/replayed.h"
#include "experiments/reproduce.h"
#include "sim/draft/draft.h"
#include "sim/exec/metrics.h"
#include "traces/trace.h"

enum { DRAFT = 31, AGAIN = 2, WINDOW = 8 };

enum cause { MISSING, SYNONYM, SURPLUS, REDUNDANT, CAUSES };

struct counts {
    int64_t rejections, cause[CAUSES];
    int64_t runs, run_tokens, came_true; /* Eq. 3: rejections with a run, ... */
};

/* What is drafted with, and room for one request. */
struct drafting {
    const struct drafter_type *type;
    int64_t param[PARAM_MAX];
    void *mem;
    int32_t token[DRAFT], parent[DRAFT], chance[DRAFT];
    struct draft_tree tree;
    struct draft_work work;
};

/* Where the draft x[0, nx) and the target's y[0, ny) meet again. */
static enum cause cause_of(const int32_t *x, int32_t nx, const int32_t *y, int32_t ny)
{
    for (int32_t sum = 1; sum <= 2 * WINDOW; sum++)
        for (int32_t i = 0; i <= sum; i++) {
            int32_t k = sum - i;
            if (i > WINDOW || k > WINDOW || i + AGAIN > nx || k + AGAIN > ny)
                continue;
            if (!memcmp(x + i, y + k, AGAIN * sizeof *x))
                return i == 0 ? MISSING : k == 0 ? SURPLUS : SYNONYM;
        }
    return REDUNDANT;
}

/* Eq. 3 on a chain whose token e is the first wrong one: the longest run of tokens that the target
 * chose itself after the wrong tokens before them; how many of its tokens the target says within
 * the next DRAFT, in a row. */
static void count_run(const struct trace *t, int32_t request, int32_t n_true, const int32_t *x,
                      int32_t nx, const int32_t *y, int32_t ny, struct counts *c)
{
    int32_t best = 0, end = 0, now = 0;
    for (int32_t i = 1; i < nx; i++) {
        int32_t choice = trace_choice(t, request, n_true, x, i);
        now = choice == x[i] ? now + 1 : 0;
        if (now > best) {
            best = now;
            end = i + 1;
        }
    }
    int32_t most = 0;
    for (int32_t at = 1; at < ny && at < DRAFT; at++) {
        int32_t same = 0;
        while (same < best && at + same < ny && x[end - best + same] == y[at + same])
            same++;
        most = same > most ? same : most;
    }
    c->runs += best > 0;
    c->run_tokens += best;
    c->came_true += most;
}

static void draft_request(struct drafting *d, const struct trace *t, int32_t request,
                          struct counts *c)
{
    struct trace_request r = trace_request(t, request);
    struct draft_limits limits = {.max_tokens = r.n_prompt + r.n_output,
                                  .max_nodes = DRAFT,
                                  .n_vocab = trace_info(t)->n_vocab};
    d->type->init(d->mem, d->param, &limits);
    d->type->append(d->mem, r.prompt, r.n_prompt, &d->work);
    for (int32_t at = 0; at < r.n_output;) {
        d->type->append(d->mem, r.output + at, 1, &d->work);
        at++;
        d->type->propose(d->mem, DRAFT, &d->tree, &d->work);
        int32_t e = 0, left = r.n_output - at;
        while (e < d->tree.n && e < left && d->token[e] == r.output[at + e])
            e++;
        if (e < d->tree.n && e < left) {
            const int32_t *x = d->token + e, *y = r.output + at + e;
            c->rejections++;
            c->cause[cause_of(x, d->tree.n - e, y, left - e)]++;
            count_run(t, request, at + e, x, d->tree.n - e, y, left - e, c);
        }
        d->type->append(d->mem, r.output + at, e, &d->work);
        at += e;
    }
}

static int draft_all(const struct trace *t, const char *file, struct arena *arena, struct counts *c,
                     struct err *e)
{
    struct drafting d = {.type = draft_find("suffix")};
    struct draft_limits most = {.max_nodes = DRAFT, .n_vocab = trace_info(t)->n_vocab};
    int32_t n = trace_info(t)->n_requests;
    for (int32_t i = 0; i < n; i++) {
        struct trace_request r = trace_request(t, i);
        if (r.n_prompt + r.n_output > most.max_tokens)
            most.max_tokens = r.n_prompt + r.n_output;
    }
    param_defaults(d.type->params, d.param);
    d.mem = arena_alloc(arena, 1, d.type->mem_bytes(d.param, &most));
    if (!d.mem)
        return err_set(e, ERR_NOMEM, "out of memory");
    d.tree = (struct draft_tree){0, d.token, d.parent, d.chance};
    for (int32_t i = 0; i < n; i++) {
        struct trace_request r = trace_request(t, i);
        if (!strcmp(r.task, "summary") &&
            metrics_distinct_4grams(r.output, r.n_output) >= METRICS_DEGENERATE)
            draft_request(&d, t, i, c);
    }
    return c->rejections ? ERR_OK
                         : err_at(e, ERR_SCHEMA, file, 0, 0, "no draft of a summary was rejected");
}

struct published {
    double missing, synonym, redundant, reusable;
};

static const struct published_field fields[] = {
    {"causes.missing", "percent", offsetof(struct published, missing), false},
    {"causes.synonym", "percent", offsetof(struct published, synonym), false},
    {"causes.redundant", "percent", offsetof(struct published, redundant), false},
    {"causes.reusable", "percent", offsetof(struct published, reusable), false},
    {NULL, NULL, 0, false}};

static void put(struct reproduce_context *c, const struct published *p, const char *model,
                const struct counts *n)
{
    double all = (double)n->rejections / 100;
    double missing = (double)n->cause[MISSING] / all, synonym = (double)n->cause[SYNONYM] / all;
    const struct {
        const char *cell;
        double published, simulated;
    } row[] = {{"missing", p->missing, missing},
               {"synonym", p->synonym, synonym},
               {"redundant", p->redundant, 100 - missing - synonym},
               {"reusable", p->reusable, missing + synonym}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char cell[64];
        snprintf(cell, sizeof cell, "%s, here %s", row[i].cell, model);
        reproduce_cell(c, "rejection", cell, row[i].published, row[i].simulated, "shown",
                       "zero-fit", NAN, NAN);
    }
    reproduce_note(c,
                   "%s: %lld rejections; of the redundant ones %.1f %% of all are surplus: the "
                   "target goes on\nlater in the draft. ",
                   model, (long long)n->rejections, (double)n->cause[SURPLUS] / all);
    if (n->runs)
        reproduce_note(c,
                       "Eq. 3 finds a run in at least %.1f %% of the rejections, %.1f tokens "
                       "long;\n%.1f %% of its tokens come in a row within the next %d.\n",
                       (double)n->runs / all, (double)n->run_tokens / (double)n->runs,
                       100 * (double)n->came_true / (double)n->run_tokens, DRAFT);
    else
        reproduce_note(c, "The trace holds no choice that Eq. 3 asks for.\n");
}

static int run(struct reproduce_context *c, struct err *e)
{
    char path[4096];
    struct published p;
    int rc = reproduce_file("rejection", path, sizeof path, e);
    if (!rc)
        rc = published_read(path, "rejection", fields, &p, c->arena, e);
    for (const struct shipped_trace *s = shipped_traces; s->file && !rc; s++) {
        struct counts n = {0};
        struct trace *t;
        rc = shipped_trace_open(s, &t, e);
        if (rc)
            break;
        rc = draft_all(t, s->file, c->arena, &n, e);
        trace_close(t);
        if (!rc)
            put(c, &p, s->model, &n);
    }
    reproduce_note(c,
                   "Rejections of a chain of %d tokens by the suffix automaton, summaries that do "
                   "not degenerate; published:\none case of another model, labelled by hand. A "
                   "trace holds the agreements that a recorded run saw.\n",
                   DRAFT);
    return rc;
}

const struct reproduction reproduce_rejection = {
    .name = "rejection",
    .source = "sd.npu (arXiv 2510.15312), Table 2",
    .summary = "rejected drafts by cause, and the share that can be reused",
    .files_only = true,
    .run = run,
};
