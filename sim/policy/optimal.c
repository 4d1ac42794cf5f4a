#include "sim/policy/optimal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What the loader is at, beside a block that is being switched: nothing; or nothing because it has
 * let the last cell pass, which only a switch of that cell's block can reward. */
enum { IDLE = 15, WAITED = 14, NO_BLOCK = 255 };

struct node {
    int64_t cells_ns, loader_ns; /* when each is free */
    int64_t bound_ns;
    int32_t parent; /* in the level above */
    uint16_t set;   /* blocks whose switch has begun */
    int16_t cells;  /* begun */
    uint8_t at;     /* the block being switched at cells_ns, IDLE or WAITED */
    uint8_t moved;  /* the block whose switch this node begins, NO_BLOCK */
};

struct search {
    const struct optimal_problem *p;
    int32_t n_cells, width, n_next;
    struct node *next; /* [room]: n + 1 times a level's nodes */
    size_t room;
    const struct node **level;
    struct arena *arena;
    int64_t best_ns; /* incumbent; prunes */
    int64_t given_up_ns;
    int64_t nodes;
    /* Time of the cells of block b from cell c on, [c * n + b]: at the cheapest, and switched. */
    int64_t *cheap_ns, *narrow_ns;
};

static int64_t cell_ns(const struct optimal_problem *p, int32_t cell, bool switched)
{
    int32_t b = cell % p->n;
    return switched ? p->sub[cell / p->n] * p->narrow_ns[b] : p->wide_ns[b];
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t bound(const struct search *s, const struct node *v)
{
    const struct optimal_problem *p = s->p;
    int64_t cells = v->cells_ns, loads = v->loader_ns;
    const int64_t *cheap = s->cheap_ns + (size_t)v->cells * (size_t)p->n;
    const int64_t *narrow = s->narrow_ns + (size_t)v->cells * (size_t)p->n;
    for (int32_t b = 0; b < p->n; b++) {
        bool switched = v->set >> b & 1;
        cells += switched ? narrow[b] : cheap[b];
        loads += switched ? 0 : p->load_ns[b];
    }
    return max64(cells + p->tail_ns, loads);
}

static void add(struct search *s, struct node v, int32_t parent)
{
    v.parent = parent;
    if (v.at < WAITED && v.loader_ns <= v.cells_ns)
        v.at = IDLE;
    v.bound_ns = bound(s, &v);
    if (v.bound_ns < s->best_ns)
        s->next[s->n_next++] = v;
}

static void start_switch(struct search *s, const struct node *v, int32_t parent, int32_t b,
                         int64_t from_ns)
{
    struct node c = *v;
    c.set = (uint16_t)(c.set | 1u << b);
    c.loader_ns = from_ns + s->p->load_ns[b];
    c.at = (uint8_t)b;
    c.moved = (uint8_t)b;
    add(s, c, parent);
}

/* The next cell, from from_ns on; `waits`: the loader lets it pass. */
static void start_cell(struct search *s, const struct node *v, int32_t parent, int64_t from_ns,
                       bool waits)
{
    struct node c = *v;
    c.cells_ns = from_ns + cell_ns(s->p, v->cells, v->set >> (v->cells % s->p->n) & 1);
    c.cells++;
    c.moved = NO_BLOCK;
    if (waits) {
        c.loader_ns = c.cells_ns;
        c.at = WAITED;
    }
    add(s, c, parent);
}

/* Both are free at t. */
static void branch_free(struct search *s, const struct node *v, int32_t parent, int64_t t)
{
    const struct optimal_problem *p = s->p;
    struct node at = *v;
    at.loader_ns = t;
    if (v->cells < s->n_cells) /* else the last cell's end stays what it was */
        at.cells_ns = t;
    for (int32_t b = 0; b < p->n; b++)
        if (!(v->set >> b & 1) && (v->at != WAITED || b == (v->cells - 1) % p->n))
            start_switch(s, &at, parent, b, t);
    if (v->cells < s->n_cells)
        start_cell(s, &at, parent, t, true);
}

static void branch(struct search *s, const struct node *v, int32_t parent)
{
    const struct optimal_problem *p = s->p;
    bool all = v->set == (1u << p->n) - 1;
    int32_t i = v->cells < s->n_cells ? v->cells % p->n : -1;
    if (all) {
        if (i >= 0)
            start_cell(s, v, parent, v->at == i ? v->loader_ns : v->cells_ns, false);
    } else if (v->loader_ns < v->cells_ns) {
        int32_t running = (v->cells - 1) % p->n;
        for (int32_t b = 0; b < p->n; b++)
            if (!(v->set >> b & 1) && b != running)
                start_switch(s, v, parent, b, v->loader_ns);
        struct node waited = *v;
        waited.at = WAITED;
        branch_free(s, &waited, parent, v->cells_ns);
    } else if (v->loader_ns == v->cells_ns) {
        branch_free(s, v, parent, v->cells_ns);
    } else if (i < 0 || v->at == i) {
        struct node idle = *v;
        idle.at = IDLE;
        branch_free(s, &idle, parent, v->loader_ns);
    } else {
        start_cell(s, v, parent, v->cells_ns, false);
        /* idling pays only if the block that would compute is switched instead */
        struct node idle = *v;
        idle.cells_ns = v->loader_ns;
        if (!(v->set >> i & 1))
            start_switch(s, &idle, parent, i, v->loader_ns);
    }
}

static int32_t sign(int64_t d)
{
    return (d > 0) - (d < 0);
}

static int by_state(const void *x, const void *y)
{
    const struct node *a = x, *b = y;
    int32_t d = a->set - b->set;
    d = d ? d : a->cells - b->cells;
    d = d ? d : a->at - b->at;
    d = d ? d : sign(a->cells_ns - b->cells_ns);
    d = d ? d : sign(a->loader_ns - b->loader_ns);
    d = d ? d : a->parent - b->parent;
    return d ? d : a->moved - b->moved;
}

static int by_bound(const void *x, const void *y)
{
    const struct node *a = x, *b = y;
    int32_t d = sign(a->bound_ns - b->bound_ns);
    return d ? d : by_state(x, y);
}

/* Drops nodes that another one dominates, then the worst of too many. */
static void thin(struct search *s)
{
    int32_t n = 0;
    qsort(s->next, (size_t)s->n_next, sizeof *s->next, by_state);
    for (int32_t i = 0; i < s->n_next; i++) {
        const struct node *v = &s->next[i], *last = n ? &s->next[n - 1] : NULL;
        bool same = last && v->set == last->set && v->cells == last->cells && v->at == last->at;
        if (!same || v->loader_ns < last->loader_ns)
            s->next[n++] = *v;
    }
    s->n_next = n;
    if (n <= s->width)
        return;
    qsort(s->next, (size_t)n, sizeof *s->next, by_bound);
    s->given_up_ns = min64(s->given_up_ns, s->next[s->width].bound_ns);
    s->n_next = s->width;
}

static void trace(const struct search *s, int32_t n_levels, int32_t index,
                  struct optimal_result *out)
{
    const struct optimal_problem *p = s->p;
    int32_t k = p->n;
    for (int32_t l = n_levels; l > 0; l--) {
        const struct node *v = &s->level[l][index];
        if (v->moved != NO_BLOCK) {
            k--;
            out->order[k] = v->moved;
            out->start_ns[k] = v->loader_ns - p->load_ns[v->moved];
            out->after[k] = v->cells / p->n + (v->moved < v->cells % p->n);
        }
        index = v->parent;
    }
    assert(k == 0);
}

/* What follows n nodes of a level, thinned, in s->next; false when out of memory. */
static bool follow(struct search *s, const struct node *here, int32_t n)
{
    size_t most = (size_t)n * (size_t)(s->p->n + 1);
    if (most > s->room) {
        s->room = 2 * most;
        s->next = arena_room(s->arena, s->room, sizeof *s->next);
        if (!s->next)
            return false;
    }
    s->n_next = 0;
    for (int32_t i = 0; i < n; i++)
        branch(s, &here[i], i);
    s->nodes += n;
    thin(s);
    return true;
}

/* One pass from the root with at most s->width nodes per level; false when out of memory. */
static bool pass(struct search *s, struct optimal_result *out)
{
    static const struct node root = {.at = IDLE, .moved = NO_BLOCK};
    int32_t n_levels = s->n_cells + s->p->n, n_here = 1;
    s->given_up_ns = INT64_MAX;
    s->level[0] = &root;
    for (int32_t l = 0; l < n_levels && n_here; l++) {
        if (!follow(s, s->level[l], n_here))
            return false;
        n_here = s->n_next;
        struct node *here = arena_room(s->arena, (size_t)n_here, sizeof *here);
        if (!here)
            return false;
        memcpy(here, s->next, (size_t)n_here * sizeof *here);
        s->level[l + 1] = here;
    }
    for (int32_t i = 0; i < n_here; i++) {
        const struct node *v = &s->level[n_levels][i];
        int64_t end_ns = max64(v->cells_ns + s->p->tail_ns, v->loader_ns);
        if (end_ns < s->best_ns) {
            s->best_ns = end_ns;
            trace(s, n_levels, i, out);
        }
    }
    return true;
}

static int check(const struct optimal_problem *p, int32_t width, struct err *e)
{
    if (p->n < 1 || p->n > OPTIMAL_MAX_BLOCKS || p->chunks < 1 || p->chunks > OPTIMAL_MAX_CHUNKS)
        return err_set(e, ERR_RANGE,
                       "%" PRId32 " blocks and %" PRId32
                       " chunks: the optimum is computed for 1 to "
                       "%d and 1 to %d",
                       p->n, p->chunks, OPTIMAL_MAX_BLOCKS, OPTIMAL_MAX_CHUNKS);
    if (width < 1 || width > 1 << 20)
        return err_set(e, ERR_RANGE, "a width of %" PRId32 " nodes: expected 1 to %d", width,
                       1 << 20);
    bool good = p->tail_ns >= 0;
    for (int32_t c = 0; c < p->chunks; c++)
        good = good && p->sub[c] >= 1;
    for (int32_t b = 0; b < p->n; b++)
        good = good && p->wide_ns[b] >= 0 && p->narrow_ns[b] >= 0 && p->load_ns[b] >= 0;
    return good ? ERR_OK : err_set(e, ERR_RANGE, "times below 0, or a chunk of no sub-chunks");
}

/* The first incumbent: everything on the wide graph, each block switched behind its last cell. */
static void start_incumbent(struct search *s, struct optimal_result *out)
{
    const struct optimal_problem *p = s->p;
    int64_t cells_ns = 0, loader_ns = 0;
    for (int32_t i = 0; i < s->n_cells; i++) {
        int32_t b = i - (s->n_cells - p->n);
        cells_ns += cell_ns(p, i, false);
        if (b < 0)
            continue;
        out->order[b] = b;
        out->after[b] = p->chunks;
        out->start_ns[b] = max64(cells_ns, loader_ns);
        loader_ns = out->start_ns[b] + p->load_ns[b];
    }
    s->best_ns = max64(cells_ns + p->tail_ns, loader_ns);
}

int optimal_solve(const struct optimal_problem *p, int32_t width, struct arena *arena,
                  struct optimal_result *out, struct err *e)
{
    int rc = check(p, width, e);
    if (rc)
        return rc;
    *out = (struct optimal_result){0};
    struct search s = {.p = p, .n_cells = p->n * p->chunks, .arena = arena};
    size_t n = (size_t)p->n, cells = (size_t)s.n_cells, levels = cells + n + 1;
    s.level = arena_alloc(arena, levels, sizeof *s.level);
    s.cheap_ns = arena_alloc(arena, (cells + 1) * n, sizeof *s.cheap_ns);
    s.narrow_ns = arena_alloc(arena, (cells + 1) * n, sizeof *s.narrow_ns);
    bool whole = s.level && s.cheap_ns && s.narrow_ns;
    for (int32_t i = s.n_cells - 1; whole && i >= 0; i--) {
        size_t at = (size_t)i * n, below = at + n, b = (size_t)(i % p->n);
        int64_t narrow_ns = cell_ns(p, i, true);
        memcpy(s.cheap_ns + at, s.cheap_ns + below, n * sizeof *s.cheap_ns);
        memcpy(s.narrow_ns + at, s.narrow_ns + below, n * sizeof *s.narrow_ns);
        s.cheap_ns[at + b] += min64(cell_ns(p, i, false), narrow_ns);
        s.narrow_ns[at + b] += narrow_ns;
    }
    start_incumbent(&s, out);
    /* narrow passes find good incumbents, with which the wide one prunes */
    for (s.width = width < 64 ? width : 64; whole; s.width = width) {
        whole = pass(&s, out);
        if (s.width == width || s.given_up_ns >= s.best_ns)
            break;
    }
    if (!whole)
        return err_set(e, ERR_NOMEM, "out of memory for a search of width %" PRId32, width);
    out->best_ns = s.best_ns;
    out->bound_ns = min64(s.best_ns, s.given_up_ns);
    out->proved = out->bound_ns == out->best_ns;
    out->nodes = s.nodes;
    return ERR_OK;
}
