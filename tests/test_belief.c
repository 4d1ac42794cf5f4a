#include "hwmodels/belief.h"
#include "sim/base/io.h"
#include "tests/replaced.h"
#include "tests/staircase.h"
#include "tests/unit.h"

#include <unistd.h>

static void beliefs_follow_the_table(void)
{
    static const int32_t width[] = {1, 3, 4, 8};
    struct arena a;
    struct device d;
    struct belief b, again, noisy;
    struct err e = {0};
    make_staircase(&d, &a, width, 4, 4);
    struct device_options opt = {
        .n_mask_widths = 1, .mask_width = {3}, .n_mask_buckets = 1, .mask_bucket = {2}};
    struct belief_options how = {0};
    CHECK_EQ(device_belief(&d, 0, &opt, &how, &a, &b, &e), ERR_OK);
    CHECK_EQ(b.n_widths, 3);
    CHECK_EQ(b.width[1], 4);
    CHECK_EQ(b.n_contexts, 4);
    CHECK_EQ(b.context[1], 512);
    CHECK_EQ(b.step_ns[1][1], staircase(4, 2));
    CHECK_EQ(b.step_ns[2][3], staircase(8, 4));
    CHECK_EQ(belief_step_ns(&b, 3, 300), staircase(4, 2));

    how.scale = 2;
    CHECK_EQ(device_belief(&d, 0, &opt, &how, &a, &b, &e), ERR_OK);
    CHECK_EQ(b.step_ns[1][1], 2 * staircase(4, 2));
    how = (struct belief_options){.noise_pct = 10, .seed = 3};
    CHECK_EQ(device_belief(&d, 0, &opt, &how, &a, &noisy, &e), ERR_OK);
    CHECK_EQ(device_belief(&d, 0, &opt, &how, &a, &again, &e), ERR_OK);
    CHECK_EQ(belief_hash(&noisy), belief_hash(&again));
    how.seed = 4;
    CHECK_EQ(device_belief(&d, 0, &opt, &how, &a, &again, &e), ERR_OK);
    CHECK(belief_hash(&noisy) != belief_hash(&again));
    double most = 0;
    for (int w = 0; w < 3; w++)
        for (int c = 0; c < 4; c++) {
            double off = (double)noisy.step_ns[w][c] * 2 / (double)b.step_ns[w][c] - 1;
            most = off > most ? off : -off > most ? -off : most;
        }
    CHECK(most > 0.02 && most <= 0.1001);

    how.noise_pct = 101;
    CHECK_EQ(device_belief(&d, 0, &opt, &how, &a, &b, &e), ERR_RANGE);
    how.noise_pct = 0;
    for (int32_t w = 100; w < 100 + BELIEF_MAX_WIDTHS; w++)
        device_table_put(&a, &d.processor[0].step, w, 1, false, &(int64_t){5}, 1);
    CHECK_EQ(device_finish(&d), ERR_OK);
    memset(&e, 0, sizeof e);
    CHECK_EQ(device_belief(&d, 0, &opt, &how, &a, &b, &e), ERR_LIMIT);
    CHECK_STR(e.msg, "more than 64 widths for a belief: mask some");
    d.processor[0].step.n_cells = 0;
    CHECK_EQ(device_belief(&d, 0, &opt, &how, &a, &b, NULL), ERR_SCHEMA);
    arena_fini(&a);
}

static const char belief_text[] = "schema: tandem-belief-1\nsource: guess\nunit: us\n"
                                  "widths: [1, 4]\ncontexts: [256, 512]\n"
                                  "step: [[5, 6], [9, 10]]\n"
                                  "load: [1, 2, 3]\nblocks: [[7, 8, 9]]\n";

static void beliefs_are_files(void)
{
    struct arena a;
    arena_init(&a);
    struct belief b, back;
    struct err e = {0};
    char path[64];
    snprintf(path, sizeof path, "test_belief.%ld.yaml", (long)getpid());
    CHECK_EQ(belief_parse("b", belief_text, sizeof belief_text - 1, &a, &b, &e), ERR_OK);
    CHECK_STR(e.msg, "");
    CHECK_EQ(b.step_ns[1][0], 9000);
    CHECK_EQ(b.n_blocks, 3);
    CHECK_EQ(b.load_ns[2], 3000);
    CHECK_EQ(b.block_ns[0][1], 8000);
    CHECK_EQ(io_write_file(path, belief_text, sizeof belief_text - 1, &e), ERR_OK);
    CHECK_EQ(belief_load(path, &a, &back, &e), ERR_OK);
    CHECK_STR(e.msg, "");
    CHECK_EQ(belief_hash(&b), belief_hash(&back));
    remove(path);
    CHECK_EQ(belief_load(path, &a, &back, &e), ERR_IO);
    arena_fini(&a);
}

static void beliefs_refuse_with_position(void)
{
    static const struct {
        const char *from, *to, *want;
    } t[] = {
        {"belief-1", "belief-9", "b:1:9: schema is 'tandem-belief-9': expected 'tandem-belief-1'"},
        {"source: guess\n", "",
         "b:3:9: widths is a list of 2: it has no source: add 'source: where it is from' here or "
         "in a mapping above"},
        {"[1, 4]", "[4, 4]", "b:4:9: widths is a list of 2: expected rising numbers"},
        {"[1, 4]", "[]", "b:4:9: widths is a list of 0: expected 1 to 64 values"},
        {"[1, 4]", "[1, 4, 5]",
         "b:6:7: step is a list of 2: expected a list of times for each of 3 widths"},
        {"[9, 10]", "[9]", "b:6:16: step.1 is a list of 1: expected 2 times"},
        {"[9, 10]", "9", "b:6:16: step.1 is '9': expected a list, as in [a, b]"},
        {"[7, 8, 9]", "[7, 8]", "b:8:10: blocks.0 is a list of 2: expected 3 times"},
        {"load", "lode",
         "b:7:1: unknown key 'lode' (a list of 3) in the file: expected one of schema, unit, "
         "widths, contexts, step, blocks, load, source, correct or remove it; did you mean "
         "'load'?"},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct arena a;
        arena_init(&a);
        struct belief b;
        struct err e = {0};
        char *text = replaced(belief_text, t[i].from, t[i].to), buf[1200];
        CHECK(belief_parse("b", text, strlen(text), &a, &b, &e) != ERR_OK);
        CHECK_STR(err_format(&e, buf, sizeof buf), t[i].want);
        free(text);
        arena_fini(&a);
    }
}

static const struct unit_test tests[] = {
    {"beliefs_follow_the_table", beliefs_follow_the_table},
    {"beliefs_are_files", beliefs_are_files},
    {"beliefs_refuse_with_position", beliefs_refuse_with_position},
    {NULL, NULL},
};

UNIT_MAIN("belief", tests)
