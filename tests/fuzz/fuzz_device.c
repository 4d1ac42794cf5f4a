/* Any bytes as a device file and as a belief; a device that is read must answer for every shape. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hwmodels/belief.h"
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
        device_belief(&d, 0, &(struct device_options){0}, &(struct belief_options){.noise_pct = 9},
                      &a, &b, NULL);
    } else {
        require(e.code != ERR_OK && e.msg[0]);
    }
    arena_fini(&a);
    return 0;
}
