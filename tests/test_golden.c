/* Event logs of every policy, by their hash: the same for every compiler, build type and machine.
 *
 * The hash is over all records of a simulated run's log: events with their times and outputs, host
 * times, actions with their arrays. A change that moves one on purpose changes the number here. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/exec/log.h"
#include "sim/exec/shims.h"
#include "sim/exec/sim.h"
#include "tests/scratch.h"
#include "tests/unit.h"
#include "tests/world.h"

static struct world_cost cost;
static struct world_truth truth;

static uint64_t hash_of_log(const char *path)
{
    struct log_reader *r;
    struct log_record record = {0};
    struct err e = {0};
    uint64_t h = 0;
    if (!CHECK_EQ(log_open(path, &r, &e), ERR_OK))
        return 0;
    while (record.type != LOG_TRAILER && CHECK_EQ(log_next(r, &record, &e), ERR_OK))
        h = hash_bytes(record.payload, record.n_payload, hash_step(h, record.type));
    log_close_reader(r);
    return h;
}

/* Three requests, the last of which is cancelled while it decodes; host times, and a bus on which
 * steps and loads compete. */
static uint64_t run(const char *policy, const char *drafter)
{
    struct request request[3];
    struct run_setup setup;
    struct run_result result;
    struct arena arena;
    struct exec *x;
    struct err e = {0};
    char path[300];
    memcpy(request, world_requests(3, 60), sizeof request);
    request[2].arrival_ns = 900000000;
    request[2].cancel_ns = 940000000;
    world_cost_init(&cost);
    cost.host = (struct cost_host){1000, 300, 2000, 700};
    cost.step_bytes = 600000;
    cost.load_bytes = 40000;
    cost.bus_bytes_per_s = 1000000000;
    world_truth_init(&truth, world_language, NULL, request, 3, NULL, 0);
    arena_init(&arena);
    scratch_path(path, sizeof path, "golden.log");
    CHECK(world_setup(&setup, policy, drafter));
    int rc = sim_create(&cost.model, &truth.truth, &setup, &x, &e);
    if (!rc)
        rc = record_create(x, &setup, path, &x, &e);
    if (!rc) {
        rc = driver_run(&setup, x, request, 3, &arena, &result, &e);
        if (!rc)
            rc = record_finish(x, &e);
        x->ops->destroy(x);
    }
    arena_fini(&arena);
    if (!CHECK_EQ(rc, ERR_OK))
        printf("  %s %s: %s\n", policy, drafter, e.msg);
    uint64_t h = rc ? 0 : hash_of_log(path);
    remove(path);
    return h;
}

static const struct {
    const char *policy, *drafter;
    uint64_t hash;
} golden[] = {
    {"autoregressive:chunk=50", "", UINT64_C(5338340046369142471)},
    {"speculative:max_draft=7", "lookup", UINT64_C(8067088583946892676)},
    {"speculative:width=8 max_draft=7", "suffix", UINT64_C(16677795509473494589)},
    {"speculative:max_draft=15 tree=plain", "lookup:branches=3 min_ngram=1",
     UINT64_C(2696917382155172238)},
    {"speculative:max_draft=15 calibrate=1 reuse=1 chunk=64", "aligned",
     UINT64_C(5762473538151855196)},
    {"speculative:max_draft=9", "oracle", UINT64_C(4731425689258260748)},
    {"switching:scheme=no-switch", "sam-author", UINT64_C(1447560988663028173)},
    {"switching:k=2", "suffix", UINT64_C(10694924629318719198)},
    {"switching:k=2 free=after stall=window back=reload-in-idle", "aligned",
     UINT64_C(2840971535378719378)},
    {"switching:scheme=async-last-chunk back=keep-resident", "", UINT64_C(11405148746425486991)},
    {"switching:k=2 fill=1 overflow=passes calibrate=1 reuse=1", "aligned",
     UINT64_C(10290111437653700826)},
};

enum { GOLDEN = sizeof golden / sizeof *golden };

static bool names(const char *policy, const char *name)
{
    size_t n = strlen(name);
    return strcspn(policy, ":") == n && !memcmp(policy, name, n);
}

static void every_policy_has_a_log(void)
{
    for (size_t i = 0; policy_registry[i]; i++) {
        bool there = false;
        for (size_t k = 0; k < GOLDEN; k++)
            there = there || names(golden[k].policy, policy_registry[i]->name);
        if (!CHECK(there))
            printf("  policy %s\n", policy_registry[i]->name);
    }
}

static void logs_are_what_they_were(void)
{
    for (size_t i = 0; i < GOLDEN; i++) {
        uint64_t h = run(golden[i].policy, golden[i].drafter);
        if (!CHECK(h == golden[i].hash))
            printf("  {\"%s\", \"%s\", UINT64_C(%" PRIu64 ")},\n", golden[i].policy,
                   golden[i].drafter, h);
    }
}

static const struct unit_test tests[] = {
    {"every_policy_has_a_log", every_policy_has_a_log},
    {"logs_are_what_they_were", logs_are_what_they_were},
    {NULL, NULL},
};

UNIT_MAIN("golden", tests)
