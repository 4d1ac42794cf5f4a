#include "experiments/replayed.h"
#include "tests/scratch.h"
#include "tests/unit.h"
#include "traces/workload.h"

#include <stdio.h>

enum { TOKENS = 21 };

/* Two requests that say the same and have nothing in common with their prompts. */
static struct trace *make_trace(void)
{
    const int32_t eos = 0;
    int32_t prompt[2][3] = {{1, 2, 3}, {4, 5, 6}}, output[TOKENS], index;
    int32_t top[3] = {7, 8, 9};
    float logit[3] = {1, 1, 1};
    char path[300];
    struct trace_builder *b;
    struct trace *t = NULL;
    struct err e = {0};
    for (int32_t i = 0; i < TOKENS; i++)
        output[i] = 20 + i;
    CHECK_EQ(trace_builder_create("m", "n", 64, &eos, 1, 1, &b, &e), ERR_OK);
    for (int32_t i = 0; i < 2; i++) {
        CHECK_EQ(trace_add_request(b, i ? "b" : "a", "t", SPLIT_HELD_OUT, TOKENS, prompt[i], 3,
                                   &index, &e),
                 ERR_OK);
        CHECK_EQ(trace_add_output(b, index, output, TOKENS, &e), ERR_OK);
        CHECK_EQ(trace_add_top(b, index, 0, 3, top, logit, &e), ERR_OK);
    }
    scratch_path(path, sizeof path, "replayed.trace");
    CHECK_EQ(trace_write(b, path, &e), ERR_OK);
    trace_builder_destroy(b);
    CHECK_EQ(trace_open(path, &t, &e), ERR_OK);
    remove(path);
    return t;
}

static void steps_are_counted(void)
{
    static const struct {
        const char *spec;
        int64_t steps, drafted, second_steps;
    } want[] = {
        {"autoregressive", 20, 0, 20},
        {"speculative:width=8,max_draft=7+oracle", 3, 7 + 7 + 3, 3},
        {"speculative:width=32,max_draft=31+oracle", 1, 19, 1},
        {"speculative:width=8,max_draft=7+suffix", 20, 0, 20},
        {"speculative:width=8,max_draft=7+suffix:history=1", 20, 0, 3},
        {"speculative:width=8,max_draft=7,calibrate=1,topk=1+aligned:common=0", 20, 0, 20},
    };
    const int32_t map[2] = {0, 1};
    struct trace *t = make_trace();
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct replayed r[2];
        struct err e = {0};
        if (!CHECK_EQ(replay_trace(t, want[i].spec, map, 2, r, &e), ERR_OK))
            printf("%s: %s\n", want[i].spec, e.msg);
        CHECK_EQ(r[0].tokens, TOKENS - 1);
        CHECK_EQ(r[0].steps, want[i].steps);
        CHECK_EQ(r[0].drafted, want[i].drafted);
        CHECK_EQ(r[0].unknown, 0);
        CHECK_EQ(r[1].steps, want[i].second_steps);
        CHECK_NEAR(r[0].distinct_4grams, 1, 0);
    }
    trace_close(t);
}

static void errors_are_those_of_the_run(void)
{
    static const struct {
        const char *spec, *says;
        int code;
    } want[] = {
        {"nothing", "no policy 'nothing'", ERR_USAGE},
        {"speculative", "needs a drafter", ERR_USAGE},
        {"speculative:calibrate=1,topk=2+aligned", "at most 1 likely tokens", ERR_UNSUPPORTED},
        {"speculative:calibrate=1,topk=1+suffix", "set calibrate=0", ERR_UNSUPPORTED},
        {"speculative:reuse=1+lookup", "set reuse=0", ERR_UNSUPPORTED},
    };
    const int32_t map[1] = {0};
    struct trace *t = make_trace();
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct replayed r[1];
        struct err e = {0};
        CHECK_EQ(replay_trace(t, want[i].spec, map, 1, r, &e), want[i].code);
        CHECK_HAS(e.msg, want[i].says);
    }
    trace_close(t);
}

static const struct unit_test tests[] = {
    {"steps_are_counted", steps_are_counted},
    {"errors_are_those_of_the_run", errors_are_those_of_the_run},
    {NULL, NULL},
};

UNIT_MAIN("replayed", tests)
