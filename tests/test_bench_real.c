/* tandem bench real without an engine: what comparators print, and what comes of times. */
#include <math.h>
#include <string.h>

#include "experiments/bench_real.h"
#include "tests/unit.h"

static const char printed[] =
    "0.03.112.461 I cmn          init: llama threadpool init, n_threads = 1\n"
    "say: encoded 7 tokens in 9.000 seconds; decoded: n_accept = none\n"
    "0.12.420.801 I encoded  204 tokens in    5.711 seconds, speed:   35.720 t/s\n"
    "0.12.420.803 I decoded   66 tokens in    3.365 seconds, speed:   19.617 t/s\n"
    "0.12.420.804 I \n"
    "0.12.420.804 I n_draft      = 3\n"
    "0.12.420.805 I n_predict    = 66\n"
    "0.12.420.805 I n_drafted    = 42\n"
    "0.12.420.807 I t_draft_flat = 0.23 ms\n"
    "0.12.420.809 I n_accept     = 37\n"
    "0.12.420.810 I accept       = 88.095%\n";

static void printed_times_are_read(void)
{
    struct comparator_times t;
    struct err e = {0};
    CHECK_EQ(comparator_parse(printed, &t, &e), ERR_OK);
    CHECK_EQ(t.n_prompt, 204);
    CHECK_EQ(t.n_output, 66);
    CHECK_EQ(t.n_drafted, 42);
    CHECK_EQ(t.n_accepted, 37);
    CHECK_NEAR(t.prompt_ns, 5.711e9, 1);
    CHECK_NEAR(t.output_ns, 3.365e9, 1);
}

static void a_missing_line_is_named(void)
{
    static const char *const word[] = {"encoded", "decoded", "n_drafted", "n_accept"};
    for (size_t i = 0; i < sizeof word / sizeof *word; i++) {
        char text[sizeof printed];
        struct comparator_times t;
        struct err e = {0};
        memcpy(text, printed, sizeof text);
        for (char *at = text; (at = strstr(at, word[i]));)
            *at = '-';
        CHECK_EQ(comparator_parse(text, &t, &e), ERR_PARSE);
        CHECK_HAS(e.msg, word[i]);
    }
}

static void overshot_tokens_are_left_out(void)
{
    struct comparator_times t = {.n_prompt = 10, .n_output = 11, .prompt_ns = 100, .output_ns = 50};
    /* Ten tokens after the first took 50: those of eight tokens, seven after the first, take 35. */
    CHECK_NEAR(comparator_ns(&t, COMPARATOR_LOOKUP, 8), 135, 1e-9);
    CHECK_NEAR(comparator_ns(&t, COMPARATOR_LOOKUP, 1), 100, 1e-9);
    /* Here the first token takes a step, too. */
    CHECK_NEAR(comparator_ns(&t, COMPARATOR_SPECULATIVE, 11), 150, 1e-9);
    CHECK_NEAR(comparator_ns(&t, COMPARATOR_SPECULATIVE, 0), 100, 1e-9);
}

/* One model of two tasks, two prompts each, three repetitions: alone 100, speculative 50, the
 * oracle 12.5 on a table where alone takes 50, all of it after the first token, and comparators as
 * given. */
static struct bench_options options = {.seed = 1};
static struct bench_model model;
static struct bench_real bench = {.o = &options, .n_models = 1, .model = &model};

static void add(enum comparator_tool tool, enum comparator_build build, double first, double second)
{
    int32_t k = model.n_contenders++;
    model.contender[k] = (struct bench_contender){.comparator = {tool, build, false, 3}};
    for (int32_t i = 0; i < model.n_prompts; i++)
        for (int32_t r = 0; r < 3; r++) /* one repetition is an outlier */
            model.prompt[i].ns[k][r] =
                (model.prompt[i].task ? second : first) * (r == i % 3 ? 9 : 1);
}

static void start(void)
{
    memset(&model, 0, sizeof model);
    model.n_tasks = 2;
    model.n_prompts = 4;
    model.n_contenders = 2;
    model.contender[0].own = model.contender[1].own = true;
    for (int32_t i = 0; i < model.n_prompts; i++) {
        struct bench_prompt *p = &model.prompt[i];
        p->task = i / 2;
        p->n_reps = 3;
        p->oracle_ns = 12.5;
        p->simulated_ns = 50;
        for (int32_t r = 0; r < 3; r++) {
            p->ns[BENCH_AUTOREGRESSIVE][r] = 100;
            p->ns[BENCH_SPECULATIVE][r] = 50;
        }
    }
}

static void the_fastest_of_each_task_is_the_denominator(void)
{
    struct bench_ratio r;
    struct err e = {0};
    start();
    add(COMPARATOR_LOOKUP, BUILD_STOCK, 80, 90);
    add(COMPARATOR_LOOKUP, BUILD_FLAGS, 60, 120);
    add(COMPARATOR_LOOKUP, BUILD_PRODUCTS, 55, 70);
    CHECK_EQ(bench_best(&model, 0, BENCH_SET_PUBLIC), 3);
    CHECK_EQ(bench_best(&model, 1, BENCH_SET_PUBLIC), 2);
    CHECK_EQ(bench_best(&model, 0, BENCH_SET_ALL), 4);
    CHECK_EQ(bench_ratio(&bench, BENCH_SET_AUTOREGRESSIVE, &r, &e), ERR_OK);
    CHECK_NEAR(r.value, 2, 1e-9);
    CHECK_EQ(bench_ratio(&bench, BENCH_SET_PUBLIC, &r, &e), ERR_OK);
    CHECK_NEAR(r.value, sqrt(60. / 50 * 90. / 50), 1e-9);
    /* The oracle takes 12.5 of 50 on the table, so 25 of 100. */
    CHECK_NEAR(r.ceiling, sqrt(60. / 25 * 90. / 25), 1e-9);
    CHECK_NEAR(r.gap_closed, (r.value - 1) / (r.ceiling - 1), 1e-9);
    /* Prompts of a task are equal here: resampling them changes nothing. */
    CHECK_NEAR(r.interval.low, r.value, 1e-9);
    CHECK_NEAR(r.interval.high, r.value, 1e-9);
    CHECK_EQ(bench_ratio(&bench, BENCH_SET_ALL, &r, &e), ERR_OK);
    CHECK_NEAR(r.value, sqrt(55. / 50 * 70. / 50), 1e-9);
}

static void the_oracle_has_our_time_to_the_first_token(void)
{
    start();
    struct bench_prompt *p = &model.prompt[0];
    for (int32_t r = 0; r < 3; r++) {
        p->first_ns[BENCH_AUTOREGRESSIVE][r] = 20;
        p->first_ns[BENCH_SPECULATIVE][r] = 30;
    }
    /* Decoding alone took 80 where the table says 50: the oracle's 12.5 are 20. */
    CHECK_NEAR(bench_oracle_ns(p), 50, 1e-9);
}

/* A task of two prompts and one of one: the model counts by prompts, drawn among all three. */
static void tasks_of_single_prompts_are_drawn_together(void)
{
    struct bench_ratio r;
    struct err e = {0};
    start();
    add(COMPARATOR_LOOKUP, BUILD_STOCK, 80, 40);
    model.n_prompts = 3;
    CHECK_EQ(bench_ratio(&bench, BENCH_SET_PUBLIC, &r, &e), ERR_OK);
    CHECK_NEAR(r.value, cbrt(80. / 50 * 80. / 50 * 40. / 50), 1e-9);
    CHECK_NEAR(r.interval.low, 40. / 50, 1e-9); /* all three draws are of the second task: 1 / 27 */
    CHECK_NEAR(r.interval.high, 80. / 50, 1e-9);
}

/* Beside a model that counts by tasks it weighs as many as it has. */
static void models_weigh_as_many_as_their_tasks(void)
{
    static struct bench_model two[2];
    struct bench_real both = {.o = &options, .n_models = 2, .model = two};
    struct bench_ratio r;
    struct err e = {0};
    start();
    add(COMPARATOR_LOOKUP, BUILD_STOCK, 80, 40);
    two[0] = two[1] = model;
    two[1].prompt[1].task = 1;
    two[1].prompt[1].ns[2][0] = two[1].prompt[1].ns[2][1] = two[1].prompt[1].ns[2][2] = 40;
    two[1].n_prompts = 2;
    CHECK_EQ(bench_ratio(&both, BENCH_SET_PUBLIC, &r, &e), ERR_OK);
    CHECK_NEAR(r.value, pow(80. / 50 * 40. / 50, .5), 1e-9);
    CHECK(r.interval.low < r.value && r.interval.high > r.value);
}

static void one_prompt_has_no_interval(void)
{
    struct bench_ratio r;
    struct err e = {0};
    start();
    add(COMPARATOR_LOOKUP, BUILD_STOCK, 80, 80);
    model.n_prompts = model.n_tasks = 1;
    CHECK_EQ(bench_ratio(&bench, BENCH_SET_PUBLIC, &r, &e), ERR_OK);
    CHECK_NEAR(r.value, 80. / 50, 1e-9);
    CHECK(isnan(r.interval.low) && isnan(r.interval.high));
}

static void what_no_model_has_is_no_number(void)
{
    struct bench_ratio r;
    struct err e = {0};
    start();
    add(COMPARATOR_LOOKUP, BUILD_STOCK, 80, 80);
    CHECK_EQ(bench_ratio(&bench, BENCH_SET_DRAFT_MODEL, &r, &e), ERR_OK);
    CHECK(isnan(r.value) && isnan(r.gap_closed));
    CHECK_EQ(bench_best(&model, 0, BENCH_SET_DRAFT_MODEL), -1);
}

static void intervals_are_of_prompts(void)
{
    struct bench_ratio r;
    struct err e = {0};
    start();
    add(COMPARATOR_LOOKUP, BUILD_STOCK, 80, 80);
    for (int32_t k = 0; k < 3; k++)
        model.prompt[0].ns[2][k] = 40;
    CHECK_EQ(bench_ratio(&bench, BENCH_SET_PUBLIC, &r, &e), ERR_OK);
    CHECK_NEAR(r.value, sqrt(60. / 50 * 80. / 50), 1e-9);
    CHECK_NEAR(r.interval.low, sqrt(40. / 50 * 80. / 50), 1e-9);
    CHECK_NEAR(r.interval.high, 80. / 50, 1e-9);
}

static const struct unit_test tests[] = {
    {"printed_times_are_read", printed_times_are_read},
    {"a_missing_line_is_named", a_missing_line_is_named},
    {"overshot_tokens_are_left_out", overshot_tokens_are_left_out},
    {"the_fastest_of_each_task_is_the_denominator", the_fastest_of_each_task_is_the_denominator},
    {"the_oracle_has_our_time_to_the_first_token", the_oracle_has_our_time_to_the_first_token},
    {"tasks_of_single_prompts_are_drawn_together", tasks_of_single_prompts_are_drawn_together},
    {"models_weigh_as_many_as_their_tasks", models_weigh_as_many_as_their_tasks},
    {"one_prompt_has_no_interval", one_prompt_has_no_interval},
    {"what_no_model_has_is_no_number", what_no_model_has_is_no_number},
    {"intervals_are_of_prompts", intervals_are_of_prompts},
    {NULL, NULL},
};

UNIT_MAIN("bench_real", tests)
