/* The event core: order, cancellation, sharing, power, the watchdog. Queues and closed forms are in
 * test_theory.c. */
#include "sim/base/arena.h"
#include "sim/base/err.h"
#include "sim/base/hash.h"
#include "sim/core/bench.h"
#include "sim/core/clock.h"
#include "sim/core/evq.h"
#include "sim/core/fluid.h"
#include "sim/core/power.h"
#include "sim/core/watch.h"
#include "tests/unit.h"

#include <string.h>

static uint64_t draw_at; /* every test starts its own stream with draws() */
static uint64_t draw_stream;

static void draws(uint64_t stream)
{
    draw_stream = stream;
    draw_at = 0;
}

static uint64_t draw(uint64_t below)
{
    return rng_u64(31, RNG_TEST, draw_stream, draw_at++) % below;
}

/* ---- clock ---------------------------------------------------------------------------------- */

static void clock_saturates_at_the_end_of_a_run(void)
{
    struct vclock c = {0};
    vclock_advance(&c, 7);
    vclock_advance(&c, 7);
    CHECK_EQ(c.now_ns, 7);
    vclock_advance(&c, CLOCK_MAX_NS);
    CHECK_EQ(clock_after(CLOCK_MAX_NS, 0), CLOCK_MAX_NS);
    CHECK_EQ(clock_after(CLOCK_MAX_NS, 1), CLOCK_NEVER);
    CHECK_EQ(clock_after(1, CLOCK_MAX_NS - 1), CLOCK_MAX_NS);
    CHECK_EQ(clock_after(CLOCK_NEVER, 3), CLOCK_NEVER);
    CHECK_EQ(clock_after(3, CLOCK_NEVER), CLOCK_NEVER);
    CHECK_EQ(clock_min(4, CLOCK_NEVER), 4);
}

/* ---- event queue ---------------------------------------------------------------------------- */

static void ties_leave_by_kind_then_by_push(void)
{
    struct arena a;
    struct evq q;
    struct evq_event e;
    arena_init(&a);
    CHECK_EQ(evq_init(&q, &a, 100), ERR_OK);
    CHECK(evq_peek(&q) == NULL && !evq_pop(&q, &e));
    CHECK_EQ(evq_next_ns(&q), CLOCK_NEVER);
    static const struct {
        int64_t time_ns;
        unsigned kind;
    } in[] = {{50, 255}, {50, 0}, {49, 9}, {50, 3}, {50, 0}, {CLOCK_MAX_NS, 1}, {0, 7}, {50, 3}};
    static const uint64_t want[] = {6, 2, 1, 4, 3, 7, 0, 5};
    /* Alone, where the queue is sorted; then with 60 later ones behind, where it is a heap. */
    for (int behind = 0; behind <= 60; behind += 60) {
        CHECK_EQ(evq_init(&q, &a, 100), ERR_OK);
        for (int i = 0; i < behind; i++)
            CHECK(evq_push(&q, CLOCK_MAX_NS, 2, 1000));
        for (uint64_t i = 0; i < 8; i++)
            CHECK(evq_push(&q, in[i].time_ns, in[i].kind, i));
        CHECK_EQ(q.heap, behind > 0);
        for (int i = 0; i < 8; i++) {
            CHECK_EQ(evq_next_ns(&q), in[want[i]].time_ns);
            CHECK_EQ(evq_peek(&q)->data, want[i]);
            CHECK(evq_pop(&q, &e));
            CHECK_EQ(e.data, want[i]);
            CHECK_EQ(evq_kind(&e), in[want[i]].kind);
        }
        CHECK_EQ(q.count, behind);
    }
    arena_fini(&a);
}

static void full_queue_refuses_and_recovers(void)
{
    struct arena a;
    struct evq q;
    struct evq_event e;
    arena_init(&a);
    CHECK_EQ(evq_init(&q, &a, EVQ_SORTED), ERR_OK);
    arena_seal(&a);
    uint64_t last = 0;
    for (int i = 0; i < EVQ_SORTED; i++)
        last = evq_push(&q, 1000 - i, 0, 0);
    CHECK_EQ(evq_push(&q, 1, 0, 0), 0);
    CHECK_EQ(q.heap, 0);
    CHECK(evq_cancel(&q, last));
    CHECK(!evq_cancel(&q, last));
    CHECK(!evq_cancel(&q, 0));
    CHECK(evq_push(&q, 1, 0, 77) > last);
    CHECK(evq_pop(&q, &e));
    CHECK_EQ(e.data, 77);
    CHECK(!evq_cancel(&q, e.id));
    arena_fini(&a);
}

/* The model: an array in the order of pushes; the earliest is found by looking at all. */
enum { MODEL = 300 };

struct model {
    struct evq_event at[MODEL];
    uint32_t count;
};

static uint32_t model_least(const struct model *m)
{
    uint32_t least = 0;
    for (uint32_t i = 1; i < m->count; i++) {
        const struct evq_event *x = &m->at[i], *y = &m->at[least];
        if (x->time_ns < y->time_ns || (x->time_ns == y->time_ns && evq_kind(x) < evq_kind(y)))
            least = i;
    }
    return least;
}

static void model_remove(struct model *m, uint32_t i)
{
    m->count--;
    for (; i < m->count; i++)
        m->at[i] = m->at[i + 1];
}

static void queue_equals_a_naive_model(void)
{
    static struct model m;
    struct arena a;
    struct evq q;
    struct evq_event e;
    arena_init(&a);
    CHECK_EQ(evq_init(&q, &a, MODEL), ERR_OK);
    draws(1);
    m.count = 0;
    uint32_t heap_steps = 0, sorted_steps = 0, cancelled = 0, refused = 0;
    for (int step = 0; step < 60000; step++) {
        /* the number pending wanders over both forms and up to the capacity */
        uint32_t aim = (uint32_t)(step / 500 % 7) * (MODEL / 6) + 5;
        uint64_t what = draw(10);
        q.heap ? heap_steps++ : sorted_steps++;
        if (m.count && what < 2) {
            uint32_t i = (uint32_t)draw(m.count);
            CHECK(evq_cancel(&q, m.at[i].id));
            CHECK(!evq_cancel(&q, m.at[i].id));
            model_remove(&m, i);
            cancelled++;
        } else if (m.count && (what < 4 || m.count > aim)) {
            uint32_t i = model_least(&m);
            CHECK(evq_pop(&q, &e));
            CHECK_EQ(e.id, m.at[i].id);
            CHECK_EQ(e.data, m.at[i].data);
            model_remove(&m, i);
        } else {
            struct evq_event n = {.time_ns = (int64_t)draw(40), .data = draw(1u << 20)}; /* ties */
            n.id = evq_push(&q, n.time_ns, (unsigned)draw(3), n.data);
            CHECK_EQ(n.id != 0, m.count < MODEL);
            refused += !n.id;
            if (n.id)
                m.at[m.count++] = n;
        }
        CHECK_EQ(q.count, m.count);
    }
    CHECK(heap_steps > 10000 && sorted_steps > 5000 && cancelled > 5000 && refused > 100);
    arena_fini(&a);
}

/* ---- fluid ---------------------------------------------------------------------------------- */

enum { GB = 1000000000 };

struct bus {
    struct arena arena;
    struct fluid f;
};

static bool bus_open(struct bus *b, uint32_t capacity, int64_t total)
{
    arena_init(&b->arena);
    bool ok = CHECK_EQ(fluid_init(&b->f, &b->arena, capacity, total), ERR_OK);
    arena_seal(&b->arena);
    return ok;
}

/* Pops one flow, which must be `tag` and end at end_ns, not a nanosecond earlier. */
static void expect_end(struct fluid *f, int64_t end_ns, uint64_t tag)
{
    uint64_t got = UINT64_MAX;
    CHECK_EQ(fluid_next_ns(f), end_ns);
    CHECK(end_ns <= f->since_ns || !fluid_pop(f, end_ns - 1, &got));
    CHECK(fluid_pop(f, end_ns, &got));
    CHECK_EQ(got, tag);
}

static void alone_flow_is_exact(void)
{
    static const struct {
        int64_t start_ns, bytes, alone_ns;
    } in[] = {
        {0, 1, 1},
        {7, 3, 1000003},
        {1234567891, 4095999937, 81919997},
        {999, FLUID_MAX_BYTES, 54975581388},
        {12345, 1, CLOCK_MAX_NS - 12345},
        {5, FLUID_MAX_BYTES, CLOCK_MAX_NS - 5},
        {CLOCK_MAX_NS - 9973, 9973, 9973},
    };
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
        struct bus b;
        if (!bus_open(&b, 1, 60 * (int64_t)GB))
            return;
        uint64_t id = fluid_start(&b.f, in[i].start_ns, in[i].bytes, in[i].alone_ns, 3, 42);
        CHECK_EQ(fluid_left_bytes(&b.f, in[i].start_ns, id), in[i].bytes);
        CHECK_EQ(fluid_start(&b.f, in[i].start_ns, 1, 1, 1, 0), 0); /* full */
        expect_end(&b.f, in[i].start_ns + in[i].alone_ns, 42);
        CHECK(b.f.level == 0); /* nothing is slowed */
        CHECK_EQ(fluid_next_ns(&b.f), CLOCK_NEVER);
        CHECK_EQ(b.f.served_bytes, in[i].bytes);
        CHECK_EQ(fluid_left_bytes(&b.f, in[i].start_ns + in[i].alone_ns, id), 0);
        arena_fini(&b.arena);
    }
}

static void flow_above_the_total_runs_at_the_total(void)
{
    struct bus b;
    if (!bus_open(&b, 2, 2 * (int64_t)GB))
        return;
    uint64_t id = fluid_start(&b.f, 10, 6000, 1000, 1, 1); /* 6 bytes/ns on 2 */
    CHECK_NEAR(fluid_rate(&b.f, id), 2e9, 1e-3);
    CHECK_EQ(fluid_left_bytes(&b.f, 1510, id), 3000);
    CHECK_EQ(fluid_moved_bytes(&b.f, 1510), 3000);
    expect_end(&b.f, 3010, 1);
    /* just fitting is not slowed */
    fluid_start(&b.f, 4000, 2000, 1000, 1, 2);
    expect_end(&b.f, 5000, 2);
    /* 2/3 of a nanosecond too many: the next whole nanosecond */
    fluid_start(&b.f, 6000, 4000, 1999, 1, 3);
    fluid_start(&b.f, 6000, 2000, 1000, 1, 4);
    expect_end(&b.f, 8000, 4);
    expect_end(&b.f, 9000, 3);
    arena_fini(&b.arena);
}

/* Total 10 bytes/ns. A and B at 8 each: 5 each from t=100, when B joins. */
static void sharing_by_hand(void)
{
    struct bus b;
    if (!bus_open(&b, 4, 10 * (int64_t)GB))
        return;
    uint64_t x = fluid_start(&b.f, 0, 8000, 1000, 1, 0);
    uint64_t y = fluid_start(&b.f, 100, 4000, 500, 1, 1);
    CHECK_NEAR(fluid_rate(&b.f, x), 5e9, 1e-3);
    CHECK_EQ(fluid_left_bytes(&b.f, 100, x), 7200);
    /* C, small, keeps its cap of 2; the others have 4 each */
    uint64_t z = fluid_start(&b.f, 300, 400, 200, 1, 2);
    CHECK_NEAR(fluid_rate(&b.f, z), 2e9, 1e-3);
    CHECK_NEAR(fluid_rate(&b.f, y), 4e9, 1e-3);
    CHECK_EQ(fluid_left_bytes(&b.f, 300, y), 3000);
    expect_end(&b.f, 500, 2); /* never slowed: exact */
    CHECK_EQ(fluid_left_bytes(&b.f, 500, y), 2200);
    expect_end(&b.f, 940, 1);
    /* A: 7200 - 200*5 - 200*4 - 440*5 = 3200 left, alone at 8 */
    CHECK_EQ(fluid_left_bytes(&b.f, 940, x), 3200);
    expect_end(&b.f, 1340, 0);
    CHECK_EQ(fluid_rate(&b.f, x), 0);
    CHECK_EQ(fluid_left_bytes(&b.f, 1340, x), 0);
    CHECK_EQ(b.f.served_bytes, 12400);
    arena_fini(&b.arena);
}

static void weights_share_and_caps_hold(void)
{
    struct bus b;
    if (!bus_open(&b, 4, 12 * (int64_t)GB))
        return;
    uint64_t x = fluid_start(&b.f, 0, 100000, 1000, 1, 0);
    uint64_t y = fluid_start(&b.f, 0, 100000, 1000, 3, 1);
    CHECK_NEAR(fluid_rate(&b.f, x), 3e9, 1e-3);
    CHECK_NEAR(fluid_rate(&b.f, y), 9e9, 1e-3);
    uint64_t z = fluid_start(&b.f, 0, 4000, 1000, 4096, 2); /* its cap, not its weight, decides */
    CHECK_NEAR(fluid_rate(&b.f, z), 4e9, 1e-3);
    CHECK_NEAR(fluid_rate(&b.f, x), 2e9, 1e-3);
    CHECK_NEAR(fluid_rate(&b.f, y), 6e9, 1e-3);
    arena_fini(&b.arena);
}

/* Twelve flows that end in one nanosecond, for both reasons, leave in the order of their starts. */
static void ties_leave_in_the_order_of_starts(void)
{
    struct bus b;
    if (!bus_open(&b, 12, 12 * (int64_t)GB))
        return;
    for (uint64_t i = 0; i < 12; i++) /* caps alternate: 1/2 (kept) and 3 (gets 3/2) */
        fluid_start(&b.f, 0, i % 2 ? 1500 : 500, i % 2 ? 500 : 1000, 1, i);
    for (uint64_t i = 0; i < 12; i++)
        expect_end(&b.f, 1000, i);
    uint64_t tag;
    CHECK(!fluid_pop(&b.f, 1000, &tag));
    arena_fini(&b.arena);
}

static void extremes_do_not_overflow(void)
{
    struct bus b;
    if (!bus_open(&b, 3, 1)) /* one byte per second */
        return;
    uint64_t x = fluid_start(&b.f, 5, FLUID_MAX_BYTES, 1, 1, 0);
    CHECK_EQ(fluid_next_ns(&b.f), CLOCK_NEVER);
    CHECK_EQ(fluid_left_bytes(&b.f, CLOCK_MAX_NS, x),
             FLUID_MAX_BYTES - (CLOCK_MAX_NS - 5) / 1000000000);
    fluid_start(&b.f, 1000000005, 1, 1, FLUID_MAX_WEIGHT, 1); /* has 4096/4097 of the total */
    expect_end(&b.f, 1000000005 + 1000244141, 1);
    arena_fini(&b.arena);

    if (!bus_open(&b, 2, GB))
        return;
    fluid_start(&b.f, 0, FLUID_MAX_BYTES, (int64_t)1 << 40, 1, 0);
    fluid_start(&b.f, 0, FLUID_MAX_BYTES, (int64_t)1 << 40, 1, 1);
    expect_end(&b.f, (int64_t)1 << 41, 0);
    expect_end(&b.f, (int64_t)1 << 41, 1);
    arena_fini(&b.arena);
}

/* Equal flows end together, on the nanosecond when it is a whole one, also where a unit of
 * served_level takes many nanoseconds. */
static void equal_flows_end_together(void)
{
    static const struct {
        int64_t total, bytes;
    } in[] = {{1, 3}, {7, 21}, {1000, 77}, {1000003, 5}, {10000000000, 1000}, {3000000001, 99991}};
    for (size_t k = 0; k < sizeof in / sizeof in[0]; k++) {
        for (uint64_t n = 2; n <= 13; n++) {
            struct bus b;
            if (!bus_open(&b, 13, in[k].total))
                return;
            /* on a slow bus a unit per weight takes several nanoseconds: whole units only */
            uint32_t weight = in[k].total < GB ? 1 : (uint32_t)(n % 3 + 1);
            for (uint64_t i = 0; i < n; i++)
                fluid_start(&b.f, 11, in[k].bytes, 1, weight, i);
            int64_t work = (int64_t)n * in[k].bytes * 1000000000;
            int64_t end_ns = 11 + work / in[k].total + (work % in[k].total > 0);
            for (uint64_t i = 0; i < n; i++)
                expect_end(&b.f, end_ns, i);
            arena_fini(&b.arena);
        }
    }
}

/* The same with a flow at its cap that ends in the same nanosecond, and drawn values. */
static void whole_nanoseconds_are_hit(void)
{
    draws(5);
    for (int round = 0; round < 3000; round++) {
        struct bus b;
        int64_t n = 1 + (int64_t)draw(12), share = n + (int64_t)draw(round % 2 ? 90 : 1000);
        int64_t unit = round % 2 ? GB : 1, length = 1 + (int64_t)draw(round % 2 ? 900000 : 90);
        int64_t end_ns = n * length * (GB / unit);
        if (!bus_open(&b, 13, (share + 1) * unit))
            return;
        CHECK(fluid_start(&b.f, 0, n * length, end_ns, 1, 0));
        for (int64_t i = 1; i <= n; i++)
            CHECK(fluid_start(&b.f, 0, share * length, 1, 1, (uint64_t)i));
        for (int64_t i = 0; i <= n; i++)
            expect_end(&b.f, end_ns, (uint64_t)i);
        arena_fini(&b.arena);
    }
}

/* Two flows with as much left; one was at its cap before: rounding must not swap them. */
static void histories_do_not_swap_ties(void)
{
    draws(6);
    for (int round = 0; round < 300; round++) {
        struct bus b;
        if (!bus_open(&b, 2, 10 * (int64_t)GB))
            return;
        int64_t alone_ns = 1000 + (int64_t)draw(1000000), begin_ns = 1 + (int64_t)draw(900);
        int64_t left = 7 * (alone_ns - begin_ns);
        fluid_start(&b.f, 0, 7 * alone_ns, alone_ns, 3, 1);
        fluid_next_ns(&b.f);
        fluid_start(&b.f, begin_ns, left, 1 + left / 100, 3, 2);
        int64_t end_ns = begin_ns + (2 * left + 9) / 10;
        expect_end(&b.f, end_ns, 1);
        expect_end(&b.f, end_ns, 2);
        arena_fini(&b.arena);
    }
}

/* Slowed and set free at every nanosecond: what it did in between is kept. */
static void nothing_is_lost_at_changes(void)
{
    struct bus b;
    if (!bus_open(&b, 2, 2 * (int64_t)GB))
        return;
    fluid_start(&b.f, 0, 2000, 1000, 1, 7);
    for (int64_t t = 0; t < 1000; t++) {
        fluid_start(&b.f, t, 1, 1, 1, 8); /* takes half of the bus, for a nanosecond */
        expect_end(&b.f, t + 1, 8);
        CHECK_EQ(fluid_next_ns(&b.f), t + 1 + 1000 - (t + 1) / 2);
    }
    expect_end(&b.f, 1500, 7);
    arena_fini(&b.arena);
}

/* Long enough for served_level to start again from 0 several times: 2^20 * 2^45 units. */
static void served_level_may_start_again(void)
{
    struct bus b;
    if (!bus_open(&b, 2, 100 * (int64_t)GB))
        return;
    int64_t begin_ns = 0;
    for (uint64_t i = 0; i < 40; i++) {
        fluid_start(&b.f, begin_ns, 1000000000000, 4000000000, 1, i); /* 250 on 100 */
        begin_ns += 10000000000;
        expect_end(&b.f, begin_ns, i);
    }
    CHECK_EQ(b.f.served_bytes, 40 * (int64_t)1000000000000);
    arena_fini(&b.arena);
}

/* ---- fluid against a solver that tries every set of flows at their cap ---------------------- */

enum { SOLVER = 7 };

struct ask {
    double cap, weight;
};

/* The only set that is consistent gives the rates: those in it at their cap and not above their
 * share, those outside sharing what is left and not above their cap. */
static bool solve(const struct ask *ask, int n, double total, double *rate)
{
    const double eps = 1e-12;
    for (unsigned set = 0; set < 1u << n; set++) {
        double left = total, weights = 0;
        for (int i = 0; i < n; i++) {
            left -= set >> i & 1 ? ask[i].cap : 0;
            weights += set >> i & 1 ? 0 : ask[i].weight;
        }
        bool all = set == (1u << n) - 1, ok = left >= -eps * total;
        for (int i = 0; i < n && ok; i++) {
            double share = all ? ask[i].cap : left / weights * ask[i].weight;
            bool at_cap = set >> i & 1;
            ok = at_cap ? share >= ask[i].cap * (1 - eps) : share <= ask[i].cap * (1 + eps);
            rate[i] = at_cap ? ask[i].cap : share;
        }
        if (ok)
            return true;
    }
    return false;
}

static void rates_equal_a_brute_force_solver(void)
{
    draws(2);
    int mixed = 0, all_kept = 0;
    for (int round = 0; round < 3000; round++) {
        struct bus b;
        struct ask ask[SOLVER];
        uint64_t id[SOLVER];
        double rate[SOLVER], sum = 0;
        int n = 1 + (int)draw(SOLVER), kept = 0;
        int64_t total = 1 + (int64_t)draw(round % 2 ? 60 : 6) * GB + (int64_t)draw(GB);
        if (!bus_open(&b, SOLVER, total))
            return;
        int64_t bytes = 1, alone_ns = 1;
        uint32_t weight = 1;
        for (int i = 0; i < n; i++) {
            if (!i || draw(4)) { /* else as the one before: equal ratios are awkward */
                bytes = 1 + (int64_t)draw(1u << (1 + draw(30)));
                alone_ns = 1 + (int64_t)draw((uint64_t)bytes * (1 + draw(9)));
                weight = draw(2) ? 1 : 1 + (uint32_t)draw(FLUID_MAX_WEIGHT);
            }
            ask[i] = (struct ask){(double)bytes / (double)alone_ns * 1e9, weight};
            id[i] = fluid_start(&b.f, 0, bytes, alone_ns, weight, 0);
        }
        CHECK(solve(ask, n, (double)total, rate));
        for (int i = 0; i < n; i++) {
            double got = fluid_rate(&b.f, id[i]);
            CHECK_NEAR(got / rate[i], 1, 1e-9);
            kept += got >= ask[i].cap * (1 - 1e-12);
            sum += got;
        }
        CHECK(sum <= (double)total * (1 + 1e-14));
        mixed += kept > 0 && kept < n;
        all_kept += kept == n;
        arena_fini(&b.arena);
    }
    CHECK(mixed > 500 && all_kept > 100);
}

/* ---- fluid against an ideal one, in real numbers -------------------------------------------- */

enum { IDEAL = 24 };

struct ideal {
    double left, cap, weight, rate, end;
    bool on;
};

/* Progressive filling: raise all together, freeze who reaches its cap. */
static void ideal_rates(struct ideal *w, double total)
{
    double left = total;
    bool frozen[IDEAL] = {false};
    for (;;) {
        double weights = 0, least = 0;
        int next = -1;
        for (int i = 0; i < IDEAL; i++) {
            if (!w[i].on || frozen[i])
                continue;
            weights += w[i].weight;
            if (next < 0 || w[i].cap / w[i].weight < least) {
                next = i;
                least = w[i].cap / w[i].weight;
            }
        }
        if (next < 0)
            return;
        if (least * weights > left * (1 + 1e-13)) {
            for (int i = 0; i < IDEAL; i++)
                if (w[i].on && !frozen[i])
                    w[i].rate = left / weights * w[i].weight;
            return;
        }
        frozen[next] = true;
        w[next].rate = w[next].cap;
        left -= w[next].cap;
    }
}

/* Moves the ideal bus from *now to `to`, over every finish in between. */
static void ideal_advance(struct ideal *w, double total, double *now, double to)
{
    while (*now < to) {
        double step = to - *now;
        int who = -1;
        ideal_rates(w, total);
        for (int i = 0; i < IDEAL; i++)
            if (w[i].on && w[i].left / w[i].rate <= step) {
                step = w[i].left / w[i].rate;
                who = i;
            }
        for (int i = 0; i < IDEAL; i++)
            if (w[i].on)
                w[i].left -= w[i].rate * step;
        *now = who < 0 ? to : *now + step;
        if (who >= 0) {
            w[who].on = false;
            w[who].end = *now;
        }
    }
}

struct race {
    struct ideal ideal[IDEAL];
    double ideal_now;
    int64_t start_ns[IDEAL], alone_ns[IDEAL], end_ns[IDEAL], next_start_ns, asked_bytes;
    int started;
};

static void race_start(struct race *r, struct fluid *f, int64_t now_ns, uint32_t weight)
{
    int i = r->started++;
    int64_t bytes = 1 + (int64_t)draw(1u << (1 + draw(24)));
    r->alone_ns[i] = 1 + bytes / (int64_t)(1 + draw(8));
    r->start_ns[i] = now_ns;
    CHECK(fluid_start(f, now_ns, bytes, r->alone_ns[i], weight, (uint64_t)i));
    r->asked_bytes += bytes;
    ideal_advance(r->ideal, 10, &r->ideal_now, (double)now_ns);
    r->ideal[i] = (struct ideal){.left = (double)bytes,
                                 .cap = (double)bytes / (double)r->alone_ns[i],
                                 .weight = weight,
                                 .on = true};
    r->next_start_ns += (int64_t)draw(1u << (1 + draw(21)));
}

/* 24 flows come at random; the total is 10 bytes/ns. */
static void race_run(struct race *r, struct fluid *f, bool weighted)
{
    int64_t now_ns = 0;
    for (int ended = 0; ended < IDEAL;) {
        int64_t next_ns = fluid_next_ns(f);
        if (!CHECK(next_ns != CLOCK_NEVER || r->started < IDEAL))
            return;
        int64_t to_ns = r->started < IDEAL ? clock_min(next_ns, r->next_start_ns) : next_ns;
        /* never more than the total, but for whole bytes at both ends */
        int64_t moved = fluid_moved_bytes(f, to_ns) - fluid_moved_bytes(f, now_ns);
        CHECK(moved <= 10 * (to_ns - now_ns) + IDEAL);
        now_ns = to_ns;
        for (uint64_t tag; fluid_pop(f, now_ns, &tag); ended++)
            r->end_ns[tag] = now_ns;
        if (r->started < IDEAL && now_ns == r->next_start_ns)
            race_start(r, f, now_ns, weighted ? 1 + (uint32_t)draw(9) : 1);
    }
    CHECK_EQ(f->asked_bytes, r->asked_bytes);
    CHECK_EQ(f->served_bytes, r->asked_bytes);
    CHECK_EQ(fluid_moved_bytes(f, now_ns), r->asked_bytes);
    ideal_advance(r->ideal, 10, &r->ideal_now, 1e18);
}

static void finishes_are_the_ideal_ones_within_a_nanosecond_each(void)
{
    static struct race r;
    int slowed = 0, exact = 0;
    uint64_t golden = 0;
    draws(3);
    for (int round = 0; round < 400; round++) {
        struct bus b;
        if (!bus_open(&b, IDEAL, 10 * (int64_t)GB))
            return;
        r = (struct race){.started = 0};
        race_run(&r, &b.f, round % 3 == 0);
        golden = hash_bytes(r.end_ns, sizeof r.end_ns, golden);
        for (int i = 0; i < IDEAL; i++) {
            int beside = 0;
            for (int j = 0; j < IDEAL; j++)
                beside += j != i && r.end_ns[j] > r.start_ns[i] && r.start_ns[j] < r.end_ns[i];
            double late = (double)r.end_ns[i] - r.ideal[i].end;
            CHECK(late > -0.01 && late < 1.01 + beside);
            slowed += r.end_ns[i] - r.start_ns[i] > r.alone_ns[i];
            exact += r.end_ns[i] - r.start_ns[i] == r.alone_ns[i];
        }
        arena_fini(&b.arena);
    }
    CHECK(slowed > 1000 && exact > 500);
    /* the same on every compiler and machine (of one byte order: int64_t is hashed as it lies) */
    CHECK_EQ(golden, 2513419598900063023);
}

/* Asking in between, however often, changes nothing. */
static void queries_do_not_alter_the_run(void)
{
    int64_t end_ns[2][40];
    for (int asking = 0; asking < 2; asking++) {
        struct bus b;
        if (!bus_open(&b, 6, 3333333333))
            return;
        draws(4);
        int64_t now_ns = 0;
        for (int i = 0; i < 40; i++) {
            while (b.f.count < 6)
                fluid_start(&b.f, now_ns, 1 + (int64_t)draw(1000000), 1 + (int64_t)draw(300000), 1,
                            0);
            int64_t next_ns = fluid_next_ns(&b.f);
            for (int k = 0; asking && k < 17; k++) {
                now_ns += (next_ns - now_ns) / 3;
                fluid_moved_bytes(&b.f, now_ns);
                fluid_left_bytes(&b.f, now_ns, b.f.last_id);
                fluid_rate(&b.f, b.f.last_id);
            }
            uint64_t tag;
            now_ns = next_ns;
            CHECK(fluid_pop(&b.f, now_ns, &tag));
            end_ns[asking][i] = now_ns;
        }
        arena_fini(&b.arena);
    }
    CHECK(!memcmp(end_ns[0], end_ns[1], sizeof end_ns[0]));
}

/* ---- power ---------------------------------------------------------------------------------- */

static void energy_by_hand_is_tight(void)
{
    struct power p;
    int64_t pj;
    power_init(&p, 2385, 117, 10);
    CHECK(energy_pj(power_energy(&p, 10), &pj));
    CHECK_EQ(pj, 0);
    power_begin(&p, 1000);
    CHECK(energy_pj(power_energy(&p, 1000), &pj));
    CHECK_EQ(pj, 990 * 117);
    CHECK(energy_pj(power_energy(&p, 1001), &pj));
    CHECK_EQ(pj, 990 * 117 + 2385);
    power_begin(&p, 1500); /* two at once are as active as one */
    power_end(&p, 2500);
    CHECK_EQ(power_active_ns(&p, 2999), 1999);
    power_end(&p, 3000);
    CHECK_EQ(power_active_ns(&p, 999999), 2000);
    CHECK(energy_pj(power_energy(&p, 3000), &pj));
    CHECK_EQ(pj, 990 * 117 + 2000 * 2385);
    CHECK(energy_pj(power_energy(&p, 3001), &pj));
    CHECK_EQ(pj, 991 * 117 + 2000 * 2385);
    CHECK(energy_pj(power_work(&p, 3001), &pj));
    CHECK_EQ(pj, 2000 * 2385);
}

/* Jobs of different powers: each draws its own, and what draws is what is asked for. */
static void jobs_have_powers_of_their_own(void)
{
    struct power p;
    int64_t pj;
    power_init(&p, 1000, 10, 0);
    power_begin_at(&p, 5000, 100);
    CHECK_EQ(power_now_mw(&p), 5000);
    power_end(&p, 150);
    CHECK_EQ(power_now_mw(&p), 10);
    power_begin(&p, 200);
    CHECK(energy_pj(power_energy(&p, 203), &pj));
    CHECK_EQ(pj, 150 * 10 + 50 * 5000 + 3 * 1000);
    power_end(&p, 210);
    CHECK(energy_pj(power_work(&p, 290), &pj));
    CHECK_EQ(pj, 50 * 5000 + 10 * 1000);
    power_begin_at(&p, POWER_UNKNOWN, 300);
    CHECK(power_energy(&p, 300).known); /* nothing of it has passed */
    CHECK(!power_energy(&p, 301).known);
    power_end(&p, 302);
    CHECK(!power_energy(&p, 400).known && !power_work(&p, 400).known);
}

static void unknown_power_is_never_zero(void)
{
    static const struct {
        int64_t active_mw, idle_mw;
        bool known;
    } in[] = {{0, 0, true}, {POWER_UNKNOWN, 5, false}, {5, POWER_UNKNOWN, false}};
    for (int i = 0; i < 3; i++) {
        struct power p;
        int64_t pj = -7;
        power_init(&p, in[i].active_mw, in[i].idle_mw, 0);
        struct energy e = power_energy(&p, 1000);
        CHECK_EQ(e.known, in[i].known);
        CHECK_EQ(energy_pj(e, &pj), in[i].known);
        CHECK_EQ(pj, in[i].known ? 0 : -7);
        struct energy one = {.mj = 1, .pj = 2, .known = true};
        CHECK_EQ(energy_add(one, e).known, in[i].known);
        CHECK_EQ(energy_add(e, one).mj, in[i].known ? 1 : 0);
    }
}

static void energy_is_exact_beyond_64_bits(void)
{
    struct power p;
    int64_t pj;
    power_init(&p, POWER_MAX_MW, 1, 3);
    power_begin(&p, 4);
    power_end(&p, CLOCK_MAX_NS - 1);
    /* 10^9 mW * (2^62 - 5) ns is as many mJ; two idle ns add 2 pJ */
    struct energy e = power_energy(&p, CLOCK_MAX_NS);
    CHECK_EQ(e.mj, CLOCK_MAX_NS - 5);
    CHECK_EQ(e.pj, 2);
    CHECK(!energy_pj(e, &pj));
    power_init(&p, 0, 999999937, 0);
    e = power_energy(&p, 9007199254740993);
    CHECK_EQ(e.mj, 9007198687287439); /* 9007199254740993 * 999999937 */
    CHECK_EQ(e.pj, 951317441);
    struct energy x = {.mj = 9223372036, .pj = 854775806, .known = true};
    struct energy y = {.mj = 0, .pj = 1, .known = true};
    CHECK(energy_pj(energy_add(x, y), &pj));
    CHECK_EQ(pj, INT64_MAX);
    CHECK(!energy_pj(energy_add(energy_add(x, y), y), &pj));
    x = energy_add((struct energy){3, 999999999, true}, (struct energy){4, 2, true});
    CHECK(x.mj == 8 && x.pj == 1);
}

/* ---- watchdog ------------------------------------------------------------------------------- */

static void watchdog_names_who_waits_for_whom(void)
{
    struct arena a;
    struct watch w;
    char buf[1024], small[24], name[2 * WATCH_NAME];
    arena_init(&a);
    CHECK_EQ(watch_init(&w, &a, 6), ERR_OK);
    arena_seal(&a);
    CHECK_STR(watch_format(&w, buf, sizeof buf), "nobody waits");
    watch_add(&w, "job 7 (FORWARD on npu)", "job 5 (DRAFT on cpu)");
    CHECK_STR(watch_format(&w, buf, sizeof buf),
              "job 7 (FORWARD on npu) waits for job 5 (DRAFT on cpu); nothing will end job 5 "
              "(DRAFT on cpu)");
    CHECK_STR(watch_format(&w, small, sizeof small), "job 7 (FORWARD on np...");
    CHECK_STR(watch_format(&w, small, 4), "...");
    watch_clear(&w);
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    watch_add(&w, name, "z");
    CHECK_EQ(strcspn(watch_format(&w, buf, sizeof buf), " "), WATCH_NAME - 1);
    arena_fini(&a);
}

static void watchdog_finds_a_cycle(void)
{
    struct arena a;
    struct watch w;
    char buf[1024];
    arena_init(&a);
    CHECK_EQ(watch_init(&w, &a, 6), ERR_OK);
    /* a way in, a dead end that is looked at first, and the cycle behind both */
    static const char *const in[][2] = {{"a", "b"}, {"b", "x"}, {"b", "c"}, {"c", "d"},
                                        {"d", "b"}, {"e", "e"}, {"f", "a"}};
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++)
        watch_add(&w, in[i][0], in[i][1]);
    for (int twice = 0; twice < 2; twice++)
        CHECK_STR(watch_format(&w, buf, sizeof buf),
                  "a waits for b; b waits for x; b waits for c; c waits for d; d waits for b; e "
                  "waits for e; and 1 more; cycle: b -> c -> d -> b; nothing will end x");
    watch_clear(&w);
    watch_add(&w, "a", "z");
    watch_add(&w, "s", "s");
    CHECK_STR(watch_format(&w, buf, sizeof buf),
              "a waits for z; s waits for s; cycle: s -> s; nothing will end z");
    watch_clear(&w);
    watch_add(&w, "p", "q"); /* a diamond is no cycle */
    watch_add(&w, "p", "r");
    watch_add(&w, "q", "t");
    watch_add(&w, "r", "t");
    CHECK_STR(watch_format(&w, buf, sizeof buf),
              "p waits for q; p waits for r; q waits for t; r waits for t; nothing will end t");
    arena_fini(&a);
}

/* ---- benchmark ------------------------------------------------------------------------------ */

/* That it runs and fills everything in; how fast is not a test's business. */
static void bench_fills_its_result(void)
{
    struct core_bench b;
    CHECK_EQ(core_bench_run(&b, 2, 1), ERR_OK);
    CHECK_EQ(b.repetitions, 2);
    const struct bench_stat *s[] = {&b.events_per_s, &b.shared_completions_per_s,
                                    &b.queue[0].ns_per_event, &b.queue[3].ns_per_event};
    for (int i = 0; i < 4; i++)
        CHECK(s[i]->min > 0 && s[i]->min <= s[i]->median && s[i]->median <= s[i]->max);
    CHECK_EQ(b.queue[0].pending, 4);
    CHECK_EQ(b.queue[1].pending, 16);
    CHECK_EQ(b.queue[2].pending, 64);
    CHECK_EQ(b.queue[3].pending, 1024);
}

static const struct unit_test tests[] = {
    {"clock_saturates_at_the_end_of_a_run", clock_saturates_at_the_end_of_a_run},
    {"ties_leave_by_kind_then_by_push", ties_leave_by_kind_then_by_push},
    {"full_queue_refuses_and_recovers", full_queue_refuses_and_recovers},
    {"queue_equals_a_naive_model", queue_equals_a_naive_model},
    {"alone_flow_is_exact", alone_flow_is_exact},
    {"flow_above_the_total_runs_at_the_total", flow_above_the_total_runs_at_the_total},
    {"sharing_by_hand", sharing_by_hand},
    {"weights_share_and_caps_hold", weights_share_and_caps_hold},
    {"ties_leave_in_the_order_of_starts", ties_leave_in_the_order_of_starts},
    {"extremes_do_not_overflow", extremes_do_not_overflow},
    {"equal_flows_end_together", equal_flows_end_together},
    {"whole_nanoseconds_are_hit", whole_nanoseconds_are_hit},
    {"histories_do_not_swap_ties", histories_do_not_swap_ties},
    {"nothing_is_lost_at_changes", nothing_is_lost_at_changes},
    {"served_level_may_start_again", served_level_may_start_again},
    {"rates_equal_a_brute_force_solver", rates_equal_a_brute_force_solver},
    {"finishes_are_the_ideal_ones_within_a_nanosecond_each",
     finishes_are_the_ideal_ones_within_a_nanosecond_each},
    {"queries_do_not_alter_the_run", queries_do_not_alter_the_run},
    {"energy_by_hand_is_tight", energy_by_hand_is_tight},
    {"jobs_have_powers_of_their_own", jobs_have_powers_of_their_own},
    {"unknown_power_is_never_zero", unknown_power_is_never_zero},
    {"energy_is_exact_beyond_64_bits", energy_is_exact_beyond_64_bits},
    {"watchdog_names_who_waits_for_whom", watchdog_names_who_waits_for_whom},
    {"watchdog_finds_a_cycle", watchdog_finds_a_cycle},
    {"bench_fills_its_result", bench_fills_its_result},
    {NULL, NULL},
};

UNIT_MAIN("core", tests)
