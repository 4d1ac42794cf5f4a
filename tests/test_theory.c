/* The core against queueing theory: closed forms must lie inside the 99 % confidence interval of
 * independent replications, and the interval must be narrow enough that another formula does not.
 *
 * Kleinrock, Queueing Systems I: M/M/1 (3.2), M/M/m (3.5), M/G/1 (5.7, Pollaczek-Khinchine); volume
 * II: processor sharing (4.4). rho is the load, the unit of time is the mean service. */
#include "sim/base/arena.h"
#include "sim/base/err.h"
#include "sim/base/hash.h"
#include "sim/core/clock.h"
#include "sim/core/evq.h"
#include "sim/core/fluid.h"
#include "tests/unit.h"

#include <math.h>

enum {
    REPLICATIONS = 30,
    CUSTOMERS = 12000,
    WARM_UP = 2000, /* the queue starts empty; customers that come before are not measured */
    ROOM = 1000,    /* customers at once */
    SERVICE_NS = 1000000
};

/* Student's t, 29 degrees of freedom, 0.995 */
static const double T_995 = 2.756;

enum service { EXPONENTIAL, CONSTANT };

struct result {
    double wait, sojourn; /* means over measured customers, in mean services */
    double slope;         /* slowdown of services above the mean over that of those below */
    double number;        /* mean number of customers in the system, over time */
    double little;        /* arrival rate * mean sojourn, over the whole run */
};

struct customer {
    int64_t arrive_ns, service_ns;
};

static int64_t exponential_ns(uint64_t replication, uint64_t stream, uint64_t i, double mean_ns)
{
    double u = rng_unit(rng_u64(2026 + stream, RNG_TEST, replication, i));
    return 1 + (int64_t)(-log(1 - u) * mean_ns);
}

/* The same arrivals and services for every discipline. */
static void draw_customers(struct customer *c, uint64_t replication, double load,
                           enum service service)
{
    int64_t now_ns = 0;
    for (uint64_t i = 0; i < CUSTOMERS; i++) {
        now_ns += exponential_ns(replication, 0, i, SERVICE_NS / load);
        c[i].arrive_ns = now_ns;
        c[i].service_ns =
            service == CONSTANT ? SERVICE_NS : exponential_ns(replication, 1, i, SERVICE_NS);
    }
}

/* What both systems measure. The integral of the number of customers is kept apart from the
 * sojourns, event by event: Little's law is that the two agree. */
struct tally {
    int64_t now_ns, present, integral, sojourns;
    double wait, sojourn, longer, shorter;
    int64_t measured, n_longer, n_shorter;
};

static void tally_move(struct tally *t, int64_t to_ns)
{
    t->integral += t->present * (to_ns - t->now_ns);
    t->now_ns = to_ns;
}

static void tally_leave(struct tally *t, const struct customer *c, uint64_t i)
{
    int64_t sojourn_ns = t->now_ns - c[i].arrive_ns;
    t->present--;
    t->sojourns += sojourn_ns;
    if (i < WARM_UP)
        return;
    t->measured++;
    t->sojourn += (double)sojourn_ns;
    t->wait += (double)(sojourn_ns - c[i].service_ns);
    bool longer = c[i].service_ns > SERVICE_NS;
    *(longer ? &t->longer : &t->shorter) += (double)sojourn_ns / (double)c[i].service_ns;
    *(longer ? &t->n_longer : &t->n_shorter) += 1;
}

static struct result tally_result(const struct tally *t)
{
    CHECK_EQ(t->present, 0);
    CHECK_EQ(t->integral, t->sojourns); /* Little's law on a path that begins and ends empty */
    double n = (double)t->measured * SERVICE_NS;
    struct result r = {.wait = t->wait / n, .sojourn = t->sojourn / n};
    if (t->n_longer && t->n_shorter)
        r.slope = t->longer / (double)t->n_longer / (t->shorter / (double)t->n_shorter);
    r.number = (double)t->integral / (double)t->now_ns;
    r.little = CUSTOMERS / (double)t->now_ns * (t->sojourn / (double)t->measured);
    return r;
}

/* First come, first served, one server: two kinds of events in one queue. */
static struct result run_fifo(const struct customer *c)
{
    enum { LEAVE, ARRIVE };
    struct arena a;
    struct evq q;
    struct evq_event e;
    struct tally t = {0};
    uint64_t head = 0, tail = 0; /* customers head .. tail - 1 are present, head is served */
    arena_init(&a);
    CHECK_EQ(evq_init(&q, &a, 2), ERR_OK);
    arena_seal(&a);
    evq_push(&q, c[0].arrive_ns, ARRIVE, 0);
    while (evq_pop(&q, &e)) {
        tally_move(&t, e.time_ns);
        bool idle; /* the server, until it takes the next who waits */
        if (evq_kind(&e) == ARRIVE) {
            idle = t.present++ == 0;
            if (++tail < CUSTOMERS)
                evq_push(&q, c[tail].arrive_ns, ARRIVE, tail);
        } else {
            idle = true;
            tally_leave(&t, c, e.data);
            head++;
        }
        if (idle && head < tail)
            evq_push(&q, e.time_ns + c[head].service_ns, LEAVE, head);
    }
    arena_fini(&a);
    return tally_result(&t);
}

/* Processor sharing by the fluid bus: a customer is a flow that alone takes its service time at the
 * rate of one server; the total is `servers` of them. */
static struct result run_sharing(const struct customer *c, int servers)
{
    struct arena a;
    struct fluid f;
    struct evq q;
    struct evq_event e;
    struct tally t = {0};
    arena_init(&a);
    CHECK_EQ(evq_init(&q, &a, 1), ERR_OK);
    CHECK_EQ(fluid_init(&f, &a, ROOM, (int64_t)servers * 1000000000), ERR_OK);
    arena_seal(&a);
    evq_push(&q, c[0].arrive_ns, 0, 0);
    for (;;) {
        int64_t to_ns = clock_min(evq_next_ns(&q), fluid_next_ns(&f));
        if (to_ns == CLOCK_NEVER)
            break;
        tally_move(&t, to_ns);
        for (uint64_t i; fluid_pop(&f, to_ns, &i);)
            tally_leave(&t, c, i);
        if (evq_next_ns(&q) > to_ns || !evq_pop(&q, &e))
            continue;
        t.present++;
        CHECK(fluid_start(&f, to_ns, c[e.data].service_ns, c[e.data].service_ns, 1, e.data));
        if (e.data + 1 < CUSTOMERS)
            evq_push(&q, c[e.data + 1].arrive_ns, 0, e.data + 1);
    }
    CHECK_EQ(f.served_bytes, f.asked_bytes);
    arena_fini(&a);
    return tally_result(&t);
}

static struct result results[REPLICATIONS];

/* servers: 0 is first come, first served. */
static void replicate(double load, enum service service, int servers)
{
    static struct customer c[CUSTOMERS];
    for (uint64_t r = 0; r < REPLICATIONS; r++) {
        draw_customers(c, r, load, service);
        results[r] = servers ? run_sharing(c, servers) : run_fifo(c);
    }
}

struct interval {
    double mean, half;
};

static struct interval interval_of(double (*get)(const struct result *))
{
    double sum = 0, square = 0;
    for (int r = 0; r < REPLICATIONS; r++)
        sum += get(&results[r]);
    double mean = sum / REPLICATIONS;
    for (int r = 0; r < REPLICATIONS; r++)
        square += (get(&results[r]) - mean) * (get(&results[r]) - mean);
    double se = sqrt(square / (REPLICATIONS - 1) / REPLICATIONS);
    return (struct interval){.mean = mean, .half = T_995 * se};
}

static double get_wait(const struct result *r)
{
    return r->wait;
}

static double get_sojourn(const struct result *r)
{
    return r->sojourn;
}

static double get_number(const struct result *r)
{
    return r->number;
}

static double get_slope(const struct result *r)
{
    return r->slope;
}

/* The interval holds `want`, is no wider than 5 % of it, and does not hold `wrong`. */
static void expect(double (*get)(const struct result *), double want, double wrong)
{
    struct interval i = interval_of(get);
    CHECK_NEAR(i.mean, want, i.half);
    CHECK(i.half > 0 && i.half < 0.05 * want);
    CHECK(fabs(i.mean - wrong) > i.half);
}

static void mm1_waits(void)
{
    const double rho = 0.6;
    replicate(rho, EXPONENTIAL, 0);
    expect(get_wait, rho / (1 - rho), rho / (2 * (1 - rho)));   /* wrong: M/D/1 */
    expect(get_sojourn, 1 / (1 - rho), rho / (1 - rho));        /* wrong: without the service */
    expect(get_number, rho / (1 - rho), rho * rho / (1 - rho)); /* wrong: without the served */
    /* served in order of arrival, the short ones suffer far more */
    CHECK(interval_of(get_slope).mean < 0.7);
}

static void md1_waits_half_as_long(void)
{
    const double rho = 0.7;
    replicate(rho, CONSTANT, 0);
    expect(get_wait, rho / (2 * (1 - rho)), rho / (1 - rho));
    expect(get_sojourn, 1 + rho / (2 * (1 - rho)), 1 / (1 - rho)); /* wrong: as if shared */
}

static void processor_sharing_is_proportional(void)
{
    const double rho = 0.6;
    replicate(rho, EXPONENTIAL, 1);
    expect(get_sojourn, 1 / (1 - rho), 1 + rho * (1 + rho) / (2 * (1 - rho)));
    /* E[sojourn | x] = x / (1 - rho): the same slowdown for long and short */
    expect(get_slope, 1, 0.9);
    expect(get_number, rho / (1 - rho), rho * rho / (1 - rho));
}

/* The mean under sharing depends on the mean service only, unlike first come, first served. */
static void processor_sharing_is_insensitive(void)
{
    const double rho = 0.7;
    replicate(rho, CONSTANT, 1);
    expect(get_sojourn, 1 / (1 - rho), 1 + rho / (2 * (1 - rho)));
}

/* Caps of one server each under a total of two: the number present is that of M/M/2, whose mean
 * sojourn is 1 / (1 - rho^2) with rho the load of each. */
static void caps_make_two_servers(void)
{
    const double rho = 0.65;
    replicate(2 * rho, EXPONENTIAL, 2);
    expect(get_sojourn, 1 / (1 - rho * rho), 0.5 / (1 - rho)); /* wrong: one server twice as fast */
    expect(get_number, 2 * rho / (1 - rho * rho), rho / (1 - rho));
}

/* L = lambda W, with the rate counted, on both systems; exact on a whole path (tally_result). */
static void littles_law_holds(void)
{
    for (int servers = 0; servers <= 1; servers++) {
        replicate(0.6, EXPONENTIAL, servers);
        double number = 0, little = 0;
        for (int r = 0; r < REPLICATIONS; r++) {
            number += results[r].number;
            little += results[r].little;
        }
        CHECK_NEAR(number / little, 1, 0.02); /* little leaves the warm-up out */
    }
}

static const struct unit_test tests[] = {
    {"mm1_waits", mm1_waits},
    {"md1_waits_half_as_long", md1_waits_half_as_long},
    {"processor_sharing_is_proportional", processor_sharing_is_proportional},
    {"processor_sharing_is_insensitive", processor_sharing_is_insensitive},
    {"caps_make_two_servers", caps_make_two_servers},
    {"littles_law_holds", littles_law_holds},
    {NULL, NULL},
};

UNIT_MAIN("theory", tests)
