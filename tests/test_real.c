/* The real executor on llama.cpp: exactness, losslessness, the cache. Needs the model that the
 * set-up installs: TANDEM_MODEL, or the pure Q4_0 file in TANDEM_DEPS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hwmodels/real/attention_kernel.h"
#include "hwmodels/real/direct.h"
#include "hwmodels/real/f16_kernel.h"
#include "hwmodels/real/llama_engine.h"
#include "hwmodels/real/q4_kernel.h"
#include "sim/base/io.h"
#include "sim/exec/driver.h"
#include "sim/exec/threads.h"
#include "tests/runs.h"
#include "tests/scratch.h"
#include "tests/unit.h"
#include "tests/world.h"

static struct engine *engine;
static struct llama_facts facts;
static struct exec_caps caps;

static const char *const text[] = {
    "<|im_start|>user\nRepeat the list twice: red apple, green pear, blue plum, red apple, green "
    "pear.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nThe ferry to Holm leaves at 8:15, 11:40 and 16:05. The ferry to Sund leaves "
    "at 9:30 and 17:20. When does the ferry to Holm leave? Quote the times.<|im_end|>\n"
    "<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a JSON object with the keys name, age and city for Ana, 31, Porto, "
    "and "
    "another one for Jan, 42, Gent.<|im_end|>\n<|im_start|>assistant\n"};

#define ALIGNED "speculative:max_draft=15 calibrate=1 reuse=1"

enum { PROMPTS = 3, TOKENS = 48 };

static int32_t prompt[PROMPTS][512];
static struct request request[PROMPTS];

static char model_path[4096];

static bool open_engine(void)
{
    char *path = model_path;
    static bool tried;
    if (!tried) {
        tried = true;
        const char *model = getenv("TANDEM_MODEL"), *deps = getenv("TANDEM_DEPS");
        const char *home = getenv("HOME");
        const char *file = "models/SmolLM2-135M-Instruct.pure-Q4_0.gguf";
        if (model)
            snprintf(path, sizeof model_path, "%s", model);
        else if (deps)
            snprintf(path, sizeof model_path, "%s/%s", deps, file);
        else
            snprintf(path, sizeof model_path, "%s/.cache/tandem/%s", home ? home : "", file);
        struct llama_options o;
        struct err e = {0};
        llama_defaults(&o);
        o.model = path;
        FILE *f = fopen(path, "rb");
        if (f && !fclose(f) && llama_engine_create(&o, &engine, &e))
            printf("%s\n", e.msg);
        for (int i = 0; engine && i < PROMPTS; i++) {
            int32_t n = llama_engine_tokenize(engine, text[i], strlen(text[i]), prompt[i], 512);
            request[i] = (struct request){.n = n,
                                          .token = prompt[i],
                                          .max_tokens = TOKENS,
                                          .arrival_ns = REQUEST_AFTER_PREVIOUS,
                                          .cancel_ns = EXEC_NEVER};
        }
        if (engine) {
            llama_engine_facts(engine, &facts);
            engine->ops->caps(engine, &caps);
        }
    }
    if (!engine)
        unit_skip("no model: run experiments/quickstart.sh or set TANDEM_MODEL");
    return engine != NULL;
}

/* One job straight to the engine. */
static struct direct direct;
static const int32_t *const choice = direct.choice;

static bool forward(int32_t pos, int32_t n, const int32_t *token, const int32_t *parent,
                    int32_t width)
{
    direct.engine = engine;
    return direct_forward(&direct, pos, n, token, parent, width);
}

static bool commit(int32_t pos, int32_t n, const int32_t *row)
{
    direct.engine = engine;
    return direct_commit(&direct, pos, n, row);
}

/* Against a library that computes otherwise ours would be left out: correct, and slow unnoticed. */
static void our_products_are_the_librarys(void)
{
    if (!open_engine())
        return;
    CHECK(q4_kernel_compare() != Q4_DIFFERS);
    CHECK(attention_kernel_compare() != ATTENTION_DIFFERS);
    CHECK(f16_kernel_compare() != F16_DIFFERS);
}

#ifdef TANDEM_LLAMA_PAGES
/* Bytes of this process's memory that asked for huge pages ("hg") or refused them ("nh"). */
static int64_t advised(const char *flag)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[1024];
    unsigned long from = 0, to = 0, a, b;
    int64_t sum = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx %*4c", &a, &b) == 2) {
            from = a;
            to = b;
        } else if (!strncmp(line, "VmFlags:", 8)) {
            sum += strstr(line, flag) ? (int64_t)(to - from) : 0;
        }
    }
    if (f)
        fclose(f);
    return sum;
}

/* Whether the system then has huge pages to give is its own affair. */
static void large_memory_asks_for_huge_pages(void)
{
    struct llama_options o;
    struct engine *small = NULL;
    struct err e = {0};
    if (!open_engine() || access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK))
        return;
    int64_t asked = advised(" hg"), refused = advised(" nh");
    CHECK(asked > facts.model_bytes / 2);
    llama_defaults(&o);
    o.model = model_path;
    o.small_pages = true;
    CHECK_EQ(llama_engine_create(&o, &small, &e), ERR_OK);
    CHECK(advised(" nh") - refused > facts.model_bytes / 2);
    CHECK_EQ(advised(" hg"), asked);
    if (small)
        small->ops->destroy(small);
}
#endif

/* Widths from `from` on, `by` apart, against a width of one, which `other` computes. */
static void check_widths(struct engine *other, int32_t from, int32_t by)
{
    struct engine *tried = engine;
    const int32_t n = request[1].n;
    const size_t row = (size_t)facts.n_vocab;
    float *want = malloc(32 * row * sizeof *want);
    int32_t chain[32];
    engine = other;
    CHECK(commit(0, 0, NULL) && forward(0, n, prompt[1], NULL, n));
    chain[0] = choice[n - 1];
    for (int32_t i = 0; i < 32; i++) {
        CHECK(forward(n + i, 1, &chain[i], NULL, 1));
        memcpy(want + (size_t)i * row, llama_engine_logits(engine, 0), row * sizeof *want);
        if (i < 31)
            chain[i + 1] = choice[0];
    }
    if (tried != other) {
        CHECK(commit(0, 0, NULL));
        engine = tried;
        CHECK(forward(0, n, prompt[1], NULL, n));
    }
    for (int32_t w = from; w <= 32; w += by) {
        int32_t differ = 0;
        CHECK(commit(n, 0, NULL)); /* the prompt stays */
        for (int32_t at = 0; at < 32; at += w) {
            int32_t rows = at + w < 32 ? w : 32 - at;
            CHECK(forward(n + at, rows, chain + at, NULL, w));
            for (int32_t i = 0; i < rows; i++)
                differ += memcmp(llama_engine_logits(engine, i), want + (size_t)(at + i) * row,
                                 row * sizeof *want) != 0;
        }
        CHECK_EQ(differ, 0);
    }
    CHECK(commit(0, 0, NULL));
    free(want);
}

static void chains_are_bit_equal_at_every_width(void)
{
    if (open_engine())
        check_widths(engine, 2, 1);
}

static void threads_change_no_bit(void)
{
    if (!open_engine())
        return;
    struct engine *one = engine;
    struct llama_options o;
    llama_defaults(&o);
    o.model = model_path;
    o.threads = 2;
    if (CHECK_EQ(llama_engine_create(&o, &engine, NULL), ERR_OK)) {
        check_widths(one, 1, 7);
        engine->ops->destroy(engine);
    }
    engine = one;
}

static void chains_are_bit_equal_with_flash_attention(void)
{
    if (!open_engine())
        return;
    struct engine *without = engine;
    struct llama_facts flash;
    struct llama_options o;
    llama_defaults(&o);
    o.model = model_path;
    o.flash = true;
    CHECK_EQ(llama_engine_create(&o, &engine, NULL), ERR_OK);
    llama_engine_facts(engine, &flash);
    CHECK(strcmp(flash.numerics, facts.numerics) != 0);
    check_widths(engine, 2, 5);
    engine->ops->destroy(engine);
    engine = without;
}

static void rejected_rows_leave_the_cache(void)
{
    if (!open_engine())
        return;
    const int32_t n = request[0].n;
    int32_t draft[8], after[2];
    CHECK(commit(0, 0, NULL) && forward(0, n, prompt[0], NULL, n));
    draft[0] = choice[n - 1];
    CHECK(forward(n, 1, draft, NULL, 1));
    after[0] = choice[0];
    CHECK(forward(n + 1, 1, after, NULL, 1));
    after[1] = choice[0];
    CHECK(commit(0, 0, NULL) && forward(0, n, prompt[0], NULL, n));
    for (int32_t i = 1; i < 8; i++)
        draft[i] = (draft[0] + 1000 * i) % facts.n_vocab;
    CHECK(forward(n, 8, draft, NULL, 12));
    CHECK_EQ(choice[0], after[0]);
    CHECK(!forward(n + 1, 1, after, NULL, 1)); /* the rejected rows are still there */
    CHECK(commit(n, 1, NULL));
    CHECK(forward(n + 1, 1, after, NULL, 1));
    CHECK_EQ(choice[0], after[1]);
    CHECK(commit(0, 0, NULL));
}

static void a_tree_keeps_its_second_branch(void)
{
    if (!open_engine())
        return;
    const int32_t n = request[0].n;
    int32_t truth[5];
    CHECK(commit(0, 0, NULL) && forward(0, n, prompt[0], NULL, n));
    truth[0] = choice[n - 1];
    for (int32_t i = 0; i < 4; i++) {
        CHECK(forward(n + i, 1, &truth[i], NULL, 1));
        truth[i + 1] = choice[0];
    }
    CHECK(commit(0, 0, NULL) && forward(0, n, prompt[0], NULL, n));
    /* root; a wrong branch of three; then the true branch of three */
    int32_t wrong = (truth[1] + 7) % facts.n_vocab;
    int32_t token[7] = {truth[0], wrong, wrong, wrong, truth[1], truth[2], truth[3]};
    int32_t parent[7] = {-1, 0, 1, 2, 0, 4, 5};
    int32_t row[8], keep[4] = {0, 4, 5, 6};
    CHECK(forward(n, 7, token, parent, 8));
    CHECK_EQ(exec_accept(7, token, parent, choice, row), 4);
    CHECK(!memcmp(row, keep, sizeof keep));
    CHECK_EQ(choice[6], truth[4]);
    CHECK(commit(n, 4, row));
    CHECK(forward(n + 4, 1, &truth[4], NULL, 1));
    CHECK(!commit(n, 3, keep)); /* not the last step's */
    CHECK(commit(0, 0, NULL));
}

static void run_policy(const char *policy, const char *drafter, struct arena *arena,
                       struct run_result *result)
{
    struct run_setup setup;
    struct exec *x;
    struct err e = {0};
    struct threads_options o = {
        .name = "real", .cpu = {-1, -1, -1, -1, -1, -1, -1, -1}, .stall_ns = 60000000000};
    CHECK(world_setup(&setup, policy, drafter));
    setup.n_vocab = facts.n_vocab;
    setup.n_eos = facts.n_eos;
    memcpy(setup.eos, facts.eos, sizeof setup.eos);
    arena_init(arena);
    if (CHECK_EQ(threads_create(engine, &setup, &o, &x, &e), ERR_OK)) {
        CHECK_EQ(driver_run(&setup, x, request, PROMPTS, arena, result, &e), ERR_OK);
        x->ops->destroy(x);
    }
    if (e.code)
        printf("%s: %s\n", policy, e.msg);
}

static bool same_output(const struct request_result *a, const struct request_result *d)
{
    return d->n_output == a->n_output &&
           !memcmp(d->output, a->output, (size_t)a->n_output * sizeof *a->output);
}

static void lossless_policies_give_the_same_text(void)
{
    static const char *const policy[][2] = {{"speculative:max_draft=3", "lookup"},
                                            {"speculative:width=8 max_draft=7", "lookup"},
                                            {"speculative:max_draft=12", "suffix"},
                                            {"speculative:max_draft=12", "lookup:branches=3"},
                                            {ALIGNED, "aligned"},
                                            {ALIGNED " width=16", "aligned:reuse=end branches=4"}};
    struct arena arena, other;
    struct run_result alone, drafted;
    if (!open_engine())
        return;
    run_policy("autoregressive", "", &arena, &alone);
    for (size_t p = 0; p < sizeof policy / sizeof *policy; p++) {
        int64_t verifies = 0, tokens = 0;
        run_policy(policy[p][0], policy[p][1], &other, &drafted);
        for (int32_t r = 0; r < PROMPTS; r++) {
            const struct request_result *a = &alone.request[r], *d = &drafted.request[r];
            CHECK(same_output(a, d));
            verifies += d->n_verify;
            tokens += d->n_output;
        }
        printf("%s %s: %.2f tokens a step\n", policy[p][0], policy[p][1],
               (double)tokens / (double)verifies);
        CHECK(verifies < tokens);
        arena_fini(&other);
    }
    arena_fini(&arena);
}

/* A path that is kept where it was in the tree has cached values that differ in the last bits: the
 * text may become another, which is counted. The first token is prefill's. */
static void plain_trees_diverge_by_what_is_counted(void)
{
    struct arena arena, other;
    struct run_result alone, drafted;
    int32_t differ = 0;
    if (!open_engine())
        return;
    run_policy("autoregressive", "", &arena, &alone);
    run_policy(ALIGNED " tree=plain", "aligned", &other, &drafted);
    for (int32_t r = 0; r < PROMPTS; r++) {
        const struct request_result *a = &alone.request[r], *d = &drafted.request[r];
        int32_t same = 0, n = a->n_output < d->n_output ? a->n_output : d->n_output;
        while (same < n && a->output[same] == d->output[same])
            same++;
        CHECK(d->finished && same > 0);
        differ += !same_output(a, d);
        printf("plain: %d of %d tokens the same\n", (int)same, (int)a->n_output);
    }
    printf("plain: %d of %d texts differ\n", (int)differ, PROMPTS);
    arena_fini(&arena);
    arena_fini(&other);
}

static int make_real(const struct run_setup *setup, struct exec **out, struct err *e)
{
    struct threads_options o = {
        .name = "real", .cpu = {-1, -1, -1, -1, -1, -1, -1, -1}, .stall_ns = 60000000000};
    return threads_create(engine, setup, &o, out, e);
}

static void runs_keep_the_laws(void)
{
    if (!open_engine())
        return;
    struct request few[2] = {request[0], request[2]};
    few[0].max_tokens = few[1].max_tokens = 16;
    struct runs r = {.name = "real",
                     .make = make_real,
                     .n_vocab = facts.n_vocab,
                     .n_eos = facts.n_eos,
                     .request = few,
                     .n = 2};
    memcpy(r.eos, facts.eos, sizeof r.eos);
    runs_are_lawful(&r);
}

/* A file that is no model is named, with the offset where it is wrong, and so is the file that
 * cannot be written. Nothing is left behind. */
static void bad_files_are_named(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } bad[] = {{"hello world", 11, "offset 0: the file does not start with 'GGUF'"},
               {"GGUF\3\0\0\0\1", 9, "offset 8: "},
               {"GG", 2, "offset 0: "}};
    char in[256], to[256];
    scratch_path(in, sizeof in, "bad.gguf");
    scratch_path(to, sizeof to, "out.gguf");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct llama_options o;
        struct engine *g;
        struct err e = {0};
        CHECK_EQ(io_write_file(in, bad[i].bytes, bad[i].n, &e), ERR_OK);
        llama_defaults(&o);
        o.model = in;
        CHECK_EQ(llama_engine_create(&o, &g, &e), ERR_CORRUPT);
        CHECK_HAS(e.msg, bad[i].says);
        CHECK_STR(e.file, in);
        e = (struct err){0};
        CHECK_EQ(llama_quantize(in, to, 1, &e), ERR_CORRUPT);
        CHECK_HAS(e.msg, bad[i].says);
        CHECK_STR(e.file, in);
        CHECK(fopen(to, "rb") == NULL);
    }
    remove(in);
    if (!open_engine())
        return;
    struct err e = {0};
    CHECK_EQ(llama_quantize(model_path, "/no/such/out.gguf", 1, &e), ERR_IO);
    CHECK_STR(e.file, "/no/such/out.gguf");
}

/* What llama.cpp ends the process for is refused, or made to fit. */
static void no_number_ends_the_process(void)
{
    static const char key[] = "llama.block_count";
    struct llama_options o;
    struct engine *g;
    struct err e = {0};
    struct io_map map;
    char path[256];
    if (!open_engine() || !CHECK_EQ(io_map_file(model_path, &map, &e), ERR_OK))
        return;
    char *copy = malloc(map.n), *at = copy;
    memcpy(copy, map.data, map.n);
    while (memcmp(at, key, sizeof key - 1))
        at++;
    scratch_path(path, sizeof path, "layers.gguf");
    llama_defaults(&o);
    o.model = path;
    for (int32_t layers = 0; layers <= 513; layers += 513) {
        e = (struct err){0};
        memcpy(at + sizeof key - 1 + 4, &layers, sizeof layers); /* behind its type */
        CHECK_EQ(io_write_file(path, copy, map.n, &e), ERR_OK);
        CHECK_EQ(llama_engine_create(&o, &g, &e), ERR_RANGE);
        CHECK_HAS(e.msg, "layers: llama.cpp takes 1 to 512");
    }
    remove(path);
    free(copy);
    io_unmap(&map);
    o.model = model_path;
    o.max_ctx = 2; /* fewer than sequences */
    e = (struct err){0};
    if (CHECK_EQ(llama_engine_create(&o, &g, &e), ERR_OK))
        g->ops->destroy(g);
}

static const struct unit_test tests[] = {
    {"our_products_are_the_librarys", our_products_are_the_librarys},
#ifdef TANDEM_LLAMA_PAGES
    {"large_memory_asks_for_huge_pages", large_memory_asks_for_huge_pages},
#endif
    {"chains_are_bit_equal_at_every_width", chains_are_bit_equal_at_every_width},
    {"threads_change_no_bit", threads_change_no_bit},
    {"chains_are_bit_equal_with_flash_attention", chains_are_bit_equal_with_flash_attention},
    {"rejected_rows_leave_the_cache", rejected_rows_leave_the_cache},
    {"a_tree_keeps_its_second_branch", a_tree_keeps_its_second_branch},
    {"lossless_policies_give_the_same_text", lossless_policies_give_the_same_text},
    {"plain_trees_diverge_by_what_is_counted", plain_trees_diverge_by_what_is_counted},
    {"runs_keep_the_laws", runs_keep_the_laws},
    {"bad_files_are_named", bad_files_are_named},
    {"no_number_ends_the_process", no_number_ends_the_process},
    {NULL, NULL},
};

UNIT_MAIN("real", tests)
