#include "experiments/measure.h"

#include <stdlib.h>
#include <string.h>

#include "hwmodels/device.h"
#include "sim/base/hash.h"

enum { ROLE_TARGET, ROLE_DRAFT, MAX_ROWS = 4096 };

void samples_free(struct samples *s)
{
    free(s->item);
    *s = (struct samples){0};
}

int samples_add(struct samples *s, const struct sample *x)
{
    if (s->n == s->cap) {
        int32_t cap = s->cap ? 2 * s->cap : 1024;
        struct sample *item = realloc(s->item, (size_t)cap * sizeof *item);
        if (!item)
            return ERR_NOMEM;
        s->item = item;
        s->cap = cap;
    }
    s->item[s->n++] = *x;
    return ERR_OK;
}

/* A driver of one, two or no jobs at a time. */
struct bench {
    struct exec *x;
    const struct run_setup *setup;
    const struct measure_plan *plan;
    struct samples *out;
    struct err *e;
    struct exec_caps caps;
    int32_t round;
    int64_t next_id, event_ns; /* of the last delivery */
    int64_t submit_ns[2];      /* by parity of the id: at most two are in flight */
    int64_t draws;
    struct engine_state last; /* width and pos */
    int32_t token[MAX_ROWS];
};

static int note(struct bench *b, struct sample s)
{
    s.round = b->round;
    return samples_add(b->out, &s) ? err_set(b->e, ERR_NOMEM, "out of memory for samples") : 0;
}

static uint64_t draw(struct bench *b)
{
    return rng_u64(b->plan->seed, RNG_WORKLOAD, (uint64_t)b->round, (uint64_t)b->draws++);
}

static void shuffle(struct bench *b, int32_t *x, int32_t n)
{
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t k = (int32_t)(draw(b) % (uint64_t)(i + 1)), t = x[i];
        x[i] = x[k];
        x[k] = t;
    }
}

static int submit(struct bench *b, struct job *job, int64_t now_ns)
{
    struct action a = {.kind = ACT_SUBMIT, .job = *job};
    a.job.id = b->next_id++;
    b->submit_ns[a.job.id & 1] = now_ns;
    return b->x->ops->act(b->x, &a, b->e);
}

/* The host's time since the last delivery; what is submitted next is submitted then. */
static int host(struct bench *b, int64_t submits, int64_t *now_ns)
{
    struct host_work work = {.actions = submits, .submits = submits};
    int64_t ns = b->x->ops->host(b->x, &work);
    *now_ns = b->event_ns + ns;
    return note(b, (struct sample){.kind = SAMPLE_HOST, .width = (int32_t)submits, .ns = ns});
}

static int wait_done(struct bench *b, struct done *done)
{
    struct event due = {.request = -1}, ev;
    int rc = b->x->ops->next(b->x, &due, &ev, b->e);
    if (rc)
        return rc;
    *done = ev.done;
    b->event_ns = ev.time_ns;
    if (done->status != DONE_OK)
        return err_set(b->e, ERR_DEVICE, "a job of the micro-benchmark failed");
    int32_t role = done->job_kind == JOB_DRAFT ? ROLE_DRAFT : ROLE_TARGET;
    rc = note(b, (struct sample){.kind = SAMPLE_DISPATCH,
                                 .width = role,
                                 .ns = done->start_ns - b->submit_ns[done->id & 1]});
    return rc ? rc
              : note(b, (struct sample){
                            .kind = SAMPLE_NOTIFY, .width = role, .ns = ev.time_ns - done->end_ns});
}

/* One FORWARD of random tokens; those of SAMPLE_ALL want their likely ones. */
static int forward(struct bench *b, int32_t pos, int32_t width, int32_t want_from,
                   enum sample_kind kind)
{
    int32_t k = kind == SAMPLE_ALL ? b->plan->top_k : 0;
    for (int32_t i = 0; i < width; i++)
        b->token[i] = (int32_t)(draw(b) % (uint64_t)b->setup->n_vocab);
    struct job job = {.kind = JOB_FORWARD, .request = 0, .role = ROLE_TARGET};
    job.forward = (struct job_forward){.b1 = b->caps.blocks,
                                       .width = width,
                                       .pos = pos,
                                       .n = width,
                                       .token = b->token,
                                       .slot_in = -1,
                                       .slot_out = -1,
                                       .want = k                   ? WANT_TOPK
                                               : want_from < width ? WANT_ARGMAX
                                                                   : WANT_NONE,
                                       .want_from = want_from,
                                       .want_k = k};
    int64_t now_ns;
    struct done done;
    int rc = host(b, 1, &now_ns);
    if (!rc)
        rc = submit(b, &job, now_ns);
    if (!rc)
        rc = wait_done(b, &done);
    if (rc)
        return rc;
    int16_t outputs = (int16_t)(width - want_from);
    enum device_change changed = device_change(&b->last, width, pos, b->plan->pad, b->plan->few);
    b->last = (struct engine_state){.width = width, .pos = pos};
    rc = note(b, (struct sample){.kind = (uint8_t)kind,
                                 .changed = (uint8_t)changed,
                                 .outputs = outputs,
                                 .width = width,
                                 .pos = pos,
                                 .ns = done.end_ns - done.start_ns - done.sample_ns});
    if (rc || !outputs)
        return rc;
    return note(b,
                (struct sample){
                    .kind = SAMPLE_SAMPLING, .width = k, .outputs = outputs, .ns = done.sample_ns});
}

/* What follows a step in a policy: a COMMIT on the target and a DRAFT beside it. */
static int cut(struct bench *b, int32_t pos, bool with_draft)
{
    struct job commit = {.kind = JOB_COMMIT, .request = 0, .role = ROLE_TARGET};
    struct job draft = {.kind = JOB_DRAFT, .request = 0, .role = ROLE_DRAFT};
    int32_t drafter =
        b->setup->n_drafters ? (int32_t)(draw(b) % (uint64_t)b->setup->n_drafters) : 0;
    int32_t token[3];
    for (int i = 0; i < 3; i++)
        token[i] = (int32_t)(draw(b) % 50);
    commit.commit = (struct job_commit){.pos = pos};
    int32_t nodes = draw(b) % 2 ? MEASURE_NARROW : MEASURE_WIDE;
    draft.draft =
        (struct job_draft){.drafter = drafter, .n = 3, .token = token, .max_nodes = nodes};
    with_draft = with_draft && b->setup->n_drafters;
    int64_t now_ns;
    int rc = host(b, 1 + with_draft, &now_ns);
    if (!rc)
        rc = submit(b, &commit, now_ns);
    if (!rc && with_draft)
        rc = submit(b, &draft, now_ns);
    for (int i = 0; i < 1 + with_draft && !rc; i++) {
        struct done done;
        rc = wait_done(b, &done);
        if (rc)
            break;
        bool drafted = done.job_kind == JOB_DRAFT;
        rc = note(b, (struct sample){.kind = drafted ? SAMPLE_DRAFT : SAMPLE_COMMIT,
                                     .width = drafted ? drafter : 0,
                                     .pos = drafted ? nodes : 0,
                                     .ns = done.end_ns - done.start_ns,
                                     .work = done.work});
        if (!rc && i < with_draft)
            b->x->ops->host(b->x, &(struct host_work){0});
    }
    return rc;
}

/* A long append, as a prompt is: what a drafter takes per token. */
static int prompts(struct bench *b)
{
    int rc = ERR_OK;
    for (int32_t d = 0; d < b->setup->n_drafters && !rc; d++) {
        for (int32_t i = 0; i < 300; i++)
            b->token[i] = (int32_t)(draw(b) % 400);
        struct job job = {.kind = JOB_DRAFT, .request = 0, .role = ROLE_DRAFT};
        job.draft = (struct job_draft){.drafter = d, .n = 300, .token = b->token};
        int64_t now_ns;
        struct done done;
        rc = host(b, 1, &now_ns);
        if (!rc)
            rc = submit(b, &job, now_ns);
        if (!rc)
            rc = wait_done(b, &done);
        if (!rc)
            rc = note(b, (struct sample){.kind = SAMPLE_DRAFT,
                                         .width = d,
                                         .ns = done.end_ns - done.start_ns,
                                         .work = done.work});
    }
    return rc;
}

static int tails(struct bench *b, int32_t base)
{
    int32_t order[64], n = b->plan->n_tails;
    memcpy(order, b->plan->tail, sizeof order);
    shuffle(b, order, n);
    int rc = ERR_OK;
    for (int32_t i = 0; i < n && !rc; i++) {
        rc = forward(b, base, order[i], order[i] - 1, SAMPLE_PREFILL);
        if (!rc)
            rc = cut(b, base, false);
    }
    n = b->plan->n_all;
    memcpy(order, b->plan->all, sizeof b->plan->all);
    shuffle(b, order, n);
    for (int32_t i = 0; i < n && !rc; i++) {
        rc = forward(b, base, order[i], 0, SAMPLE_ALL);
        if (!rc)
            rc = cut(b, base, false);
    }
    return rc;
}

/* A step of two branches of which the second is kept: what a tree's COMMIT takes. */
static int tree(struct bench *b, int32_t context)
{
    enum { ROWS = 5 };
    static const int32_t parent[ROWS] = {-1, 0, 1, 0, 3}, row[3] = {0, 3, 4};
    for (int32_t i = 0; i < ROWS; i++)
        b->token[i] = (int32_t)(draw(b) % (uint64_t)b->setup->n_vocab);
    struct job step = {.kind = JOB_FORWARD, .request = 0, .role = ROLE_TARGET};
    step.forward = (struct job_forward){.b1 = b->caps.blocks,
                                        .width = ROWS,
                                        .pos = context,
                                        .n = ROWS,
                                        .token = b->token,
                                        .parent = parent,
                                        .slot_in = -1,
                                        .slot_out = -1,
                                        .want = WANT_ARGMAX};
    struct job commit = {.kind = JOB_COMMIT, .request = 0, .role = ROLE_TARGET};
    commit.commit = (struct job_commit){.pos = context, .n = 3, .row = row};
    int64_t now_ns;
    struct done done;
    int rc = host(b, 1, &now_ns);
    if (!rc)
        rc = submit(b, &step, now_ns);
    if (!rc)
        rc = wait_done(b, &done);
    if (!rc)
        rc = host(b, 1, &now_ns);
    if (!rc)
        rc = submit(b, &commit, now_ns);
    if (!rc)
        rc = wait_done(b, &done);
    if (!rc)
        rc = note(b, (struct sample){
                         .kind = SAMPLE_COMMIT, .changed = 1, .ns = done.end_ns - done.start_ns});
    b->last.width = 0;
    return rc ? rc : cut(b, context, false);
}

int32_t measure_steady(const struct measure_plan *plan, int32_t width)
{
    return plan->steady[width > plan->few];
}

static int step(struct bench *b, int32_t context, int32_t width)
{
    int rc = forward(b, context, width, 0, SAMPLE_STEP);
    return rc ? rc : cut(b, context, true);
}

/* A step of the kind, of another width: what `width` is measured after, unless it is so already. In
 * a random order few rows would follow few rows seldom, as they do when a policy decodes. */
static int come_from(struct bench *b, int32_t context, int32_t width, bool few)
{
    int32_t order[64], n = b->plan->n_widths, most = b->plan->few, last = b->last.width;
    if (last != width && last && (last <= most) == few)
        return ERR_OK;
    memcpy(order, b->plan->width, sizeof order);
    shuffle(b, order, n);
    for (int32_t i = 0; i < n; i++)
        if (order[i] != width && (order[i] <= most) == few)
            return step(b, context, order[i]);
    return ERR_OK;
}

/* Every width, by turns after either kind. */
static int steps(struct bench *b, int32_t context)
{
    const struct measure_plan *p = b->plan;
    int32_t order[64], n = p->n_widths, visit = p->by_context ? b->round / p->n_contexts : b->round;
    for (int32_t i = 0; i < n; i++)
        order[i] = i;
    shuffle(b, order, n);
    int rc = ERR_OK;
    for (int32_t i = 0; i < n && !rc; i++) {
        int32_t width = p->width[order[i]];
        if (p->few)
            rc = come_from(b, context, width, (order[i] + visit) % 2);
        for (int32_t k = 0; k < 1 + measure_steady(p, width) && !rc; k++)
            rc = step(b, context, width);
    }
    return rc;
}

/* By turns only rounds of later contexts come by here, so that the last chunk of a prompt, its
 * dearest step, would be measured least. */
static int last_chunk(struct bench *b, int32_t base)
{
    int rc = forward(b, base, b->plan->chunk, b->plan->chunk, SAMPLE_PREFILL);
    return rc ? rc : cut(b, base, false);
}

/* Whole chunks up to the context, tails and steps at it, then on. */
static int walk(struct bench *b)
{
    const struct measure_plan *p = b->plan;
    int32_t base = 0, only = p->by_context ? b->round % p->n_contexts : -1;
    int rc = prompts(b);
    for (int32_t c = 0; c < (p->by_context ? only + 1 : p->n_contexts) && !rc; c++) {
        int32_t context = p->context[c];
        while (base + p->chunk <= context && !rc) {
            rc = forward(b, base, p->chunk, p->chunk, SAMPLE_PREFILL);
            base += p->chunk;
        }
        if (p->by_context && c != only)
            continue;
        if (!rc && base < p->prefill_to)
            rc = tails(b, base);
        if (!rc && p->by_context && base + p->chunk <= p->prefill_to)
            rc = last_chunk(b, base);
        if (!rc && context > base)
            rc = forward(b, base, context - base, context - base - 1, SAMPLE_PREFILL);
        if (!rc)
            rc = steps(b, context);
        if (!rc && (b->caps.features & EXEC_TREES))
            rc = tree(b, context);
        if (!rc && context > base)
            rc = cut(b, base, false);
    }
    return rc ? rc : cut(b, 0, false);
}

int measure_round(struct exec *x, const struct run_setup *setup, const struct measure_plan *plan,
                  int32_t round, struct samples *out, struct err *e)
{
    struct bench *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(e, ERR_NOMEM, "out of memory");
    *b = (struct bench){
        .x = x, .setup = setup, .plan = plan, .out = out, .e = e, .round = round, .next_id = 1};
    struct event due = {.kind = EV_ARRIVE, .request = 0}, ev;
    due.arrive.n = 1;
    due.arrive.token = b->token;
    due.arrive.max_tokens = 1;
    x->ops->caps(x, &b->caps);
    int rc = x->ops->next(x, &due, &ev, e);
    if (!rc) {
        b->event_ns = ev.time_ns;
        rc = walk(b);
    }
    if (!rc) {
        struct action finish = {.kind = ACT_FINISH, .request = 0};
        rc = x->ops->act(x, &finish, e);
    }
    free(b);
    return rc;
}
