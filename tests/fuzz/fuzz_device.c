/* Any bytes as a device file and as a belief; a device that is read must answer for every shape. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hwmodels/belief.h"
#include "hwmodels/explain.h"
#include "hwmodels/steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int held)
{
    if (!held)
        abort();
}

static void ask(const struct cost_model *m)
{
    static const int32_t shape[][3] = {{0, 1, 1}, {0, 7, 7}, {300, 5, 2}, {100000, 4096, 1}};
    struct engine_state before = {0};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        struct job j = {.id = 1, .kind = JOB_FORWARD};
        j.forward.b1 = 1;
        j.forward.slot_in = j.forward.slot_out = -1;
        j.forward.pos = shape[i][0];
        j.forward.n = j.forward.width = shape[i][1];
        j.forward.want = WANT_ARGMAX;
        j.forward.want_from = shape[i][1] - shape[i][2];
        struct cost c;
        require(m->ops->job(m, &j, &before, NULL, &c, NULL) == ERR_OK);
        require(c.alone_ns >= c.sample_ns && c.sample_ns >= 0 && c.bytes >= 0);
        before.width = shape[i][1];
        before.pos = shape[i][0];
    }
}

/* A step by every unit of a file with operators: known times are not negative. */
static void ask_units(const struct device *d, struct arena *a)
{
    static const struct model_desc m = {.layers = 1,
                                        .d_model = 64,
                                        .d_ff = 96,
                                        .heads = 4,
                                        .kv_heads = 2,
                                        .head_dim = 16,
                                        .vocabulary = 99};
    for (int32_t p = 0; p < d->n_processors; p++)
        for (int32_t i = 0; i < d->processor[p].n_units; i++) {
            const struct roof_unit *u = &d->processor[p].unit[i];
            struct ops_step s = {.b1 = 1,
                                 .rows = 7,
                                 .context = 3,
                                 .head_rows = 1,
                                 .weights = u->weights,
                                 .head = u->weights,
                                 .activation_bytes = u->activation_bytes,
                                 .kv_bytes = u->kv_bytes};
            struct explain_step x;
            require(explain_step(d, u, NULL, &m, &s, a, &x, NULL) == ERR_OK);
            require(x.known ? x.ns >= 0 : x.ns == -1);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    arena_init(&a);
    struct err e = {0};
    struct device d;
    struct belief b;
    belief_parse("fuzz", data, size, &a, &b, &e);
    memset(&e, 0, sizeof e);
    if (!device_parse("fuzz", data, size, NULL, 0, &a, &d, &e)) {
        for (int degrade = 0; degrade <= DEVICE_PERMUTED_WIDTH; degrade++) {
            struct device_options opt = {.estimator = (enum device_estimator)(degrade % 3),
                                         .estimator_n = 2,
                                         .degrade = (enum device_degrade)degrade,
                                         .drafter = {"lookup"}};
            const struct cost_model *m;
            if (!device_cost_create(&d, &(int32_t){0}, 1, &opt, &a, &m, NULL))
                ask(m);
        }
        ask_units(&d, &a);
        device_belief(&d, 0, &(struct device_options){0}, &(struct belief_options){.noise_pct = 9},
                      &a, &b, NULL);
    } else {
        require(e.code != ERR_OK && e.msg[0]);
    }
    arena_fini(&a);
    return 0;
}
