#include "sim/base/io.h"
#include "tests/scratch.h"
#include "tests/unit.h"
#include "traces/trace.h"
#include "traces/trace_format.h"
#include "traces/workload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- workloads ------------------------------------------------------------------------------ */

static int load(const char *text, enum split_rule rule, struct workload *w, struct err *e)
{
    memset(e, 0, sizeof *e);
    return workload_load_bytes("w.jsonl", text, strlen(text), rule, w, e);
}

#define LINE(id, task)                                                                             \
    "{\"id\":\"" id "\",\"task\":\"" task "\",\"prompt\":\"p\",\"max_tokens\":7}\n"

static const char mixed[] = LINE("a1", "a") LINE("b1", "b") LINE("a2", "a")
    LINE("a3", "a") "\n" LINE("c1", "c") LINE("b2", "b") LINE("a4", "a") LINE("a5", "a");

static void a_workload_is_split_by_task(void)
{
    struct workload w;
    struct err e;
    if (!CHECK_EQ(load(mixed, SPLIT_ALTERNATE, &w, &e), ERR_OK))
        return;
    static const int held_out[] = {0, 0, 1, 0, 0, 1, 1, 0};
    CHECK_EQ(w.n, 8);
    CHECK_EQ(w.n_tasks, 3);
    CHECK_STR(w.task[2], "c");
    for (int i = 0; i < 8; i++)
        CHECK_EQ(w.item[i].split, held_out[i] ? SPLIT_HELD_OUT : SPLIT_CALIBRATION);
    CHECK_STR(w.item[4].id, "c1");
    CHECK_EQ(w.item[4].task, 2);
    CHECK_EQ(w.item[4].line, 6);
    CHECK_EQ(w.item[4].max_tokens, 7);
    CHECK_STR(w.item[4].file, "w.jsonl");
    workload_fini(&w);
    CHECK_EQ(load(mixed, SPLIT_ALL_HELD_OUT, &w, &e), ERR_OK);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(w.item[i].split, SPLIT_HELD_OUT);
    workload_fini(&w);
}

static void items_are_chosen_evenly_over_tasks(void)
{
    struct workload w;
    struct err e;
    int32_t got[8];
    static const int32_t want[] = {0, 1, 4, 2, 5, 3, 6, 7}; /* a b c, a b, a, a, a */
    if (!CHECK_EQ(load(mixed, SPLIT_ALL_HELD_OUT, &w, &e), ERR_OK))
        return;
    for (int32_t max = 0; max <= 9; max++) {
        int32_t n = workload_choose(&w, SPLIT_HELD_OUT, max, got);
        CHECK_EQ(n, max < 8 ? max : 8);
        CHECK(!memcmp(got, want, (size_t)n * sizeof *got));
    }
    CHECK_EQ(workload_choose(&w, SPLIT_CALIBRATION, 8, got), 0);
    workload_fini(&w);
}

static void bad_workloads_are_rejected_with_their_place(void)
{
    static const struct {
        const char *text;
        int code, line, col;
        const char *msg;
    } bad[] = {
        {"", ERR_SCHEMA, 0, 0, "no prompts here"},
        {"\n \n", ERR_SCHEMA, 0, 0, "no prompts here"},
        {"[]", ERR_SCHEMA, 1, 1, "the line is an array"},
        {LINE("a", "t") "{\"id\":\"b\",\"task\":\"t\",\"prompt\":\"p\"}", ERR_SCHEMA, 2, 34,
         "lacks 'max_tokens': add it"},
        {"{\"id\":\"b\",\"id\":\"c\"}", ERR_SCHEMA, 1, 11, "'id' comes twice"},
        {"{\"ident\":\"b\"}", ERR_SCHEMA, 1, 2, "unknown key 'ident'"},
        {LINE("a", "t") LINE("b", "t") LINE("a", "u"), ERR_SCHEMA, 3, 7,
         "the id 'a' comes twice, first in w.jsonl:1"},
        {LINE("a", "t") LINE("b", "t") LINE("b", "t") LINE("a", "t") LINE("a", "t"), ERR_SCHEMA, 3,
         7, "the id 'b' comes twice, first in w.jsonl:2"},
        {"{\"id\":7}", ERR_SCHEMA, 1, 7, "'id' is 7: expected a string"},
        {"{\"prompt\":null}", ERR_SCHEMA, 1, 11, "'prompt' is null"},
        {"{\"prompt\":\"a\\u0000b\"}", ERR_SCHEMA, 1, 11, "U+0000"},
        {"{\"prompt\":\"\xff\"}", ERR_PARSE, 1, 12, "not UTF-8"},
        {"{\"max_tokens\":0}", ERR_RANGE, 1, 15, "'max_tokens' is 0: expected a number from 1"},
        {"{\"max_tokens\":1048577}", ERR_RANGE, 1, 15, "1048577"},
        {"{\"max_tokens\":8.5}", ERR_SCHEMA, 1, 15, "'max_tokens' is 8.5: expected a whole number"},
        {"{\"max_tokens\":99999999999999999999}", ERR_RANGE, 1, 15, "64 bits"},
        {LINE("", "t"), ERR_RANGE, 1, 7, "'id' has 0 bytes: expected 1 to 255"},
        {LINE("x", ""), ERR_RANGE, 1, 18, "'task' has 0 bytes: expected 1 to"},
        {"{\"id\":\"a\",\"task\":\"t\",\"prompt\":\"\",\"max_tokens\":1}", ERR_RANGE, 1, 31,
         "'prompt' has 0 bytes: expected 1 to "},
        {LINE("a", "t") "{\"id\":\"b\"", ERR_PARSE, 2, 10, "the text ends here"},
        {"{\"id\":\"a\",\"task\":\"t\",\"prompt\":\"p\",\"max_tokens\":1} x", ERR_PARSE, 1, 51,
         "found 'x': expected nothing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct workload w;
        struct err e;
        CHECK_EQ(load(bad[i].text, SPLIT_ALTERNATE, &w, &e), bad[i].code);
        CHECK_EQ(e.line, bad[i].line);
        CHECK_EQ(e.col, bad[i].col);
        CHECK_HAS(e.msg, bad[i].msg);
        CHECK_STR(e.file, "w.jsonl");
        workload_fini(&w);
    }
    struct workload w;
    struct err e = {0};
    CHECK_EQ(workload_load("no/such/file", SPLIT_ALTERNATE, &w, &e), ERR_IO);
    workload_fini(&w);
}

static void limits_are_kept(void)
{
    struct workload w;
    struct err e = {0};
    char name[16], id[WORKLOAD_MAX_NAME_BYTES + 2];
    struct workload_item item = {.prompt = "p", .max_tokens = 1, .file = "f"};
    workload_init(&w);
    for (int i = 0; i <= WORKLOAD_MAX_TASKS; i++) {
        snprintf(name, sizeof name, "t%d", i);
        item.id = name;
        CHECK_EQ(workload_add(&w, &item, name, &e), i < WORKLOAD_MAX_TASKS ? ERR_OK : ERR_LIMIT);
    }
    CHECK_HAS(e.msg, "more than 256 tasks");
    memset(id, 'x', sizeof id);
    id[WORKLOAD_MAX_NAME_BYTES] = 0;
    item.id = id;
    CHECK_EQ(workload_add(&w, &item, "t0", &e), ERR_OK);
    id[WORKLOAD_MAX_NAME_BYTES] = 'x';
    id[WORKLOAD_MAX_NAME_BYTES + 1] = 0;
    CHECK_EQ(workload_add(&w, &item, "t0", &e), ERR_RANGE);
    item.id = "fine";
    CHECK_EQ(workload_add(&w, &item, id, &e), ERR_RANGE);
    workload_fini(&w);
}

/* What is saved is what was loaded, byte for byte once it is in our own form. */
static void workloads_survive_saving(void)
{
    struct workload a, b;
    struct err e;
    char path[300], *data;
    size_t n;
    static const char text[] = "{\"max_tokens\":3,\"prompt\":\"\\u00e9 \\\"<|im_end|>\\\"\\n\","
                               "\"task\":\"\xc3\xa9\",\"id\":\"\\u0061\"}";
    scratch_path(path, sizeof path, "w.jsonl");
    if (!CHECK_EQ(load(text, SPLIT_ALTERNATE, &a, &e), ERR_OK))
        return;
    CHECK_EQ(workload_save(&a, path, &e), ERR_OK);
    CHECK_EQ(io_read_file(path, 1000, &data, &n, &e), ERR_OK);
    CHECK_STR(data, "{\"id\": \"a\", \"task\": \"\xc3\xa9\", \"prompt\": \"\xc3\xa9 "
                    "\\\"<|im_end|>\\\"\\n\", \"max_tokens\": 3}\n");
    free(data);
    CHECK_EQ(workload_load(path, SPLIT_ALTERNATE, &b, &e), ERR_OK);
    CHECK_STR(b.item[0].prompt, a.item[0].prompt);
    CHECK_EQ(b.item[0].split, SPLIT_CALIBRATION);
    workload_fini(&b);
    unlink(path);
    CHECK_EQ(workload_save(&a, "no/such/folder/w", &e), ERR_IO);
    workload_fini(&a);
}

static void the_shipped_corpora_load(void)
{
    static const char *const file[] = {"traces/workloads/summary.jsonl",
                                       "traces/workloads/rag.jsonl", "traces/workloads/ui.jsonl",
                                       "traces/workloads/reply.jsonl"};
    for (size_t i = 0; i < sizeof file / sizeof file[0]; i++) {
        struct workload w;
        struct err e = {0};
        int32_t index[256];
        CHECK_EQ(workload_load(file[i], SPLIT_ALTERNATE, &w, &e), ERR_OK);
        CHECK(w.n >= 24);
        CHECK_EQ(w.n_tasks, 1);
        CHECK_EQ(workload_choose(&w, SPLIT_HELD_OUT, 256, index), w.n / 2);
        workload_fini(&w);
    }
}

/* ---- importers ------------------------------------------------------------------------------ */

static int import(const struct import_options *o, const char *name, const char *text, size_t n,
                  struct workload *w, struct err *e)
{
    char path[300];
    const char *file[] = {scratch_path(path, sizeof path, name)};
    memset(e, 0, sizeof *e);
    CHECK_EQ(io_write_file(path, text, n, e), ERR_OK);
    int code = workload_import(o, file, 1, w, e);
    unlink(path);
    return code;
}

static void spec_bench_is_imported(void)
{
    static const char text[] =
        "{\"question_id\": 81, \"category\": \"writing\", \"turns\": [\"First\\n\", \"Second\", "
        "[\"no\", \"text\"]]}\n"
        "{\"reference\": [[1]], \"turns\": [\"x\"], \"category\": \"qa\", \"question_id\": "
        "\"q\"}\n";
    struct import_options o = {.from = IMPORT_SPEC_BENCH, .max_tokens = 50};
    struct workload w;
    struct err e;
    CHECK_EQ(import(&o, "q.jsonl", text, sizeof text - 1, &w, &e), ERR_OK);
    if (CHECK_EQ(w.n, 2)) {
        CHECK_STR(w.item[0].id, "81");
        CHECK_STR(w.task[w.item[0].task], "writing");
        CHECK_STR(w.item[0].prompt, "First\n");
        CHECK_EQ(w.item[0].max_tokens, 50);
        CHECK_STR(w.item[1].id, "q");
    }
    CHECK_EQ(w.n_turns_left_out, 2);
    workload_fini(&w);
    static const struct {
        const char *text;
        int code;
        const char *msg;
        int col; /* 0: not looked at */
    } bad[] = {
        {"{\"category\":\"c\",\"turns\":[\"t\"]}", ERR_SCHEMA, "lacks 'question_id'", 0},
        {"{\"question_id\":1,\"turns\":[\"t\"]}", ERR_SCHEMA, "lacks 'category'", 0},
        {"{\"question_id\":1,\"category\":\"c\"}", ERR_SCHEMA,
         "lacks 'turns': add it, or name the right --from", 0},
        {"{\"question_id\":1.5}", ERR_SCHEMA,
         "'question_id' is 1.5: expected a whole number, or a string", 16},
        {"{\"question_id\":1,\"question_id\":2}", ERR_SCHEMA, "comes twice", 0},
        {"{\"turns\": []}", ERR_SCHEMA,
         "'turns' is [], without a text: expected at least one string, of which the first becomes "
         "the prompt; put it in, or remove the line",
         11},
        {"{\"turns\": [[\"t\"]]}", ERR_SCHEMA,
         "the first of 'turns' is an array: expected a string", 12},
        {"{\"turns\": [\"a\\u0000b\"]}", ERR_SCHEMA, "expected a string without U+0000", 12},
        {"{\"turns\":\"t\"}", ERR_SCHEMA, "'turns' is the string \"t\": expected an array", 0},
        {"3", ERR_SCHEMA, "the line is 3: expected an object", 0},
        {"{\"question_id\":1,\"category\":\"c\",\"turns\":[\"t\"]}\n"
         "{\"question_id\":1,\"category\":\"c\",\"turns\":[\"t\"]}",
         ERR_SCHEMA, "the id '1' comes twice", 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ(import(&o, "q.jsonl", bad[i].text, strlen(bad[i].text), &w, &e), bad[i].code);
        CHECK_HAS(e.msg, bad[i].msg);
        CHECK(e.line == (i + 1 == sizeof bad / sizeof bad[0] ? 2 : 1));
        CHECK(!bad[i].col || e.col == bad[i].col);
        workload_fini(&w);
    }
}

static void text_files_are_imported(void)
{
    struct import_options o = {.from = IMPORT_TEXT, .max_tokens = 5, .task = "mine"};
    struct workload w;
    struct err e;
    CHECK_EQ(import(&o, "some.prompt.txt", "Two\nlines\r\n", 11, &w, &e), ERR_OK);
    if (CHECK_EQ(w.n, 1)) {
        CHECK_HAS(w.item[0].id, "-some.prompt");
        CHECK(strstr(w.item[0].id, "txt") == NULL && strchr(w.item[0].id, '/') == NULL);
        CHECK_STR(w.item[0].prompt, "Two\nlines");
        CHECK_STR(w.task[0], "mine");
    }
    workload_fini(&w);
    o.task = NULL;
    CHECK_EQ(import(&o, "p", "x", 1, &w, &e), ERR_OK);
    CHECK_STR(w.task[0], w.item[0].id);
    workload_fini(&w);
    CHECK_EQ(import(&o, "p", "a\n\xc3\xa9\xff", 5, &w, &e), ERR_PARSE);
    CHECK(e.line == 2 && e.col == 2);
    CHECK_HAS(e.msg, "byte 0xff");
    workload_fini(&w);
    CHECK_EQ(import(&o, "p", "a\0b", 3, &w, &e), ERR_PARSE);
    CHECK_HAS(e.msg, "byte 0x00");
    workload_fini(&w);
    CHECK_EQ(import(&o, "p", "\n", 1, &w, &e), ERR_RANGE);
    workload_fini(&w);

    char a[300], b[320];
    scratch_path(a, sizeof a, "same.a");
    scratch_path(b, sizeof b, "same.b");
    const char *file[] = {a, b};
    memset(&e, 0, sizeof e);
    CHECK_EQ(io_write_file(a, "x", 1, &e) + io_write_file(b, "y", 1, &e), ERR_OK);
    CHECK_EQ(workload_import(&o, file, 2, &w, &e), ERR_SCHEMA);
    CHECK_HAS(e.msg, "-same' comes twice, first in ");
    CHECK_HAS(e.msg, "same.a: expected");
    CHECK_STR(e.file, b);
    workload_fini(&w);
    unlink(a);
    unlink(b);
}

static void json_lines_are_imported(void)
{
    static const char text[] = "{\"text\": \"one\", \"n\": {\"text\": 1}}\n\n{\"text\": \"two\"}\n";
    struct import_options o = {.from = IMPORT_JSONL, .field = "text", .max_tokens = 5};
    struct workload w;
    struct err e;
    CHECK_EQ(import(&o, "d.jsonl", text, sizeof text - 1, &w, &e), ERR_OK);
    if (CHECK_EQ(w.n, 2)) {
        CHECK_HAS(w.item[1].id, "-d-3");
        CHECK_STR(w.item[1].prompt, "two");
    }
    workload_fini(&w);
    o.field = "body";
    CHECK_EQ(import(&o, "d.jsonl", text, sizeof text - 1, &w, &e), ERR_SCHEMA);
    CHECK_HAS(e.msg, "lacks 'body': add it, or name the right --field");
    workload_fini(&w);
}

static void import_options_are_checked(void)
{
    static const struct {
        struct import_options o;
        const char *msg;
    } bad[] = {
        {{.from = IMPORT_JSONL, .max_tokens = 5}, "needs --field"},
        {{.from = IMPORT_TEXT, .max_tokens = 5, .field = "x"}, "--field 'x' is for"},
        {{.from = IMPORT_TEXT, .max_tokens = 0}, "--max-tokens is 0"},
        {{.from = IMPORT_TEXT, .max_tokens = 5, .task = ""}, "--task is no text"},
        {{.from = IMPORT_TEXT, .max_tokens = 5, .task = "\xff"}, "--task is no text"},
    };
    const char *file[] = {"no/such/file"};
    struct workload w;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};
        CHECK_EQ(workload_import(&bad[i].o, file, 1, &w, &e), ERR_USAGE);
        CHECK_HAS(e.msg, bad[i].msg);
        workload_fini(&w);
    }
    struct import_options o = {.from = IMPORT_TEXT, .max_tokens = 5};
    struct err e = {0};
    CHECK_EQ(workload_import(&o, file, 0, &w, &e), ERR_USAGE);
    workload_fini(&w);
    CHECK_EQ(workload_import(&o, file, 1, &w, &(struct err){0}), ERR_IO);
    workload_fini(&w);
    enum import_from from;
    CHECK_EQ(import_from_name("jsonl", &from, &e), ERR_OK);
    CHECK_EQ(from, IMPORT_JSONL);
    CHECK_EQ(import_from_name("csv", &from, &(struct err){0}), ERR_USAGE);
}

/* ---- traces --------------------------------------------------------------------------------- */

enum { VOCAB = 100, TOP = 2 };

static const int32_t eos[] = {99, 0};
static const int32_t prompt_a[] = {5, 6, 7}, output_a[] = {10, 11, 12, 99};
static const int32_t prompt_b[] = {8}, output_b[] = {20, 21};

/* Two requests, a step with a rejected branch, a step past the end. */
static struct trace_builder *sample(void)
{
    struct trace_builder *b = NULL;
    struct err e = {0};
    int32_t index = -1;
    CHECK_EQ(trace_builder_create("Toy", "n1", VOCAB, eos, 2, TOP, &b, &e), ERR_OK);
    CHECK_EQ(trace_add_request(b, "a", "t1", SPLIT_CALIBRATION, 8, prompt_a, 3, &index, &e), 0);
    CHECK_EQ(index, 0);
    CHECK_EQ(trace_add_request(b, "b", "t2", SPLIT_HELD_OUT, 2, prompt_b, 1, &index, &e), 0);
    CHECK_EQ(index, 1);
    CHECK_EQ(trace_add_output(b, 0, output_a, 4, &e), ERR_OK);
    CHECK_EQ(trace_add_output(b, 1, output_b, 2, &e), ERR_OK);
    static const int32_t top[] = {6, 9, 7, 8};
    static const float logit[] = {2.5f, 1.25f, 3, 3};
    CHECK_EQ(trace_add_top(b, 0, 1, 2, top, logit, &e), ERR_OK);
    /* after 5 6 7 | 10: rows 10; 11 and 50 below it; 12 below 11; 11 below 50; 60 below 12 */
    static const int32_t token[] = {10, 11, 50, 12, 11, 60}, parent[] = {-1, 0, 0, 1, 2, 3};
    static const int32_t choice[] = {11, 12, 70, 99, 71, 72};
    CHECK_EQ(trace_add_step(b, 0, 1, 6, token, parent, choice, &e), ERR_OK);
    static const int32_t chain[] = {8, 20, 21, 22}, after[] = {20, 21, 30, 31};
    CHECK_EQ(trace_add_step(b, 1, 0, 4, chain, NULL, after, &e), ERR_OK);
    CHECK_STR(e.msg, "");
    return b;
}

static char *bytes_of(const struct trace_builder *b, size_t *n)
{
    char path[300], *data = NULL;
    struct err e = {0};
    scratch_path(path, sizeof path, "t.trace");
    CHECK_EQ(trace_write(b, path, &e), ERR_OK);
    CHECK_EQ(io_read_file(path, 1 << 20, &data, n, &e), ERR_OK);
    unlink(path);
    return data;
}

#define PATH(...) (const int32_t[]){__VA_ARGS__}, sizeof(int32_t[]){__VA_ARGS__} / sizeof(int32_t)

static void check_sample(const struct trace *t)
{
    const struct trace_info *i = trace_info(t);
    CHECK_STR(i->model, "Toy");
    CHECK_STR(i->numerics, "n1");
    CHECK(i->n_vocab == VOCAB && i->n_eos == 2 && i->eos[0] == 99 && i->eos[1] == 0);
    CHECK(i->n_requests == 2 && i->top_k == TOP && i->n_tokens == 10);
    CHECK_EQ(i->n_counterfactuals, 5);
    struct trace_request r = trace_request(t, 0);
    CHECK_STR(r.id, "a");
    CHECK_STR(r.task, "t1");
    CHECK(r.n_prompt == 3 && !memcmp(r.prompt, prompt_a, sizeof prompt_a));
    CHECK(r.n_output == 4 && !memcmp(r.output, output_a, sizeof output_a));
    CHECK(r.max_tokens == 8 && r.split == SPLIT_CALIBRATION && r.n_counterfactuals == 3);
    CHECK_EQ(trace_request(t, 1).split, SPLIT_HELD_OUT);
    CHECK(trace_length(t, 0) == 4 && trace_length(t, 1) == 2 && trace_length(t, 2) == 0);
    for (int32_t k = 0; k < 4; k++)
        CHECK_EQ(trace_choice(t, 0, k, NULL, 0), output_a[k]);
    CHECK_EQ(trace_choice(t, 0, 4, NULL, 0), -1);
    CHECK_EQ(trace_choice(t, 0, 1, PATH(50)), 70);
    CHECK_EQ(trace_choice(t, 0, 1, PATH(50, 11)), 71);
    CHECK_EQ(trace_choice(t, 0, 3, PATH(60)), 72);
    CHECK_EQ(trace_choice(t, 0, 1, PATH(51)), -1);
    CHECK_EQ(trace_choice(t, 0, 1, PATH(11, 50)), -1);
    CHECK_EQ(trace_choice(t, 0, 2, PATH(50)), -1);
    CHECK_EQ(trace_choice(t, 1, 1, PATH(50)), -1);
    CHECK_EQ(trace_choice(t, 1, 2, NULL, 0), 30);
    CHECK_EQ(trace_choice(t, 1, 2, PATH(22)), 31);
    CHECK_EQ(trace_choice(t, 2, 0, NULL, 0), -1);
    CHECK_EQ(trace_choice(t, -1, 0, NULL, 0), -1);
    CHECK_EQ(trace_choice(t, 0, -1, NULL, 0), -1);
    int32_t token[4];
    float logit[4];
    CHECK_EQ(trace_top(t, 0, 0, 2, token, logit), 0);
    CHECK_EQ(trace_top(t, 0, 1, 4, token, logit), 2);
    CHECK(token[0] == 6 && token[1] == 9);
    CHECK_NEAR((double)logit[1], 1.25, 0);
    CHECK_EQ(trace_top(t, 0, 2, 1, token, logit), 1);
    CHECK_EQ(token[0], 7);
    CHECK(trace_top(t, 0, 3, 2, token, logit) == 0 && trace_top(t, 0, -1, 2, token, logit) == 0);
    CHECK(trace_top(t, 1, 0, 2, token, logit) == 0 && trace_top(t, 2, 0, 2, token, logit) == 0);
    struct trace_counterfactual c = trace_counterfactual(t, 0, 1);
    CHECK(c.n_true == 1 && c.n_wrong == 2 && c.choice == 71);
    CHECK(c.chain == trace_chain(trace_chain(TRACE_CHAIN, 50), 11));
}

static void a_trace_survives_writing_and_reading(void)
{
    struct trace_builder *b = sample();
    struct trace *t;
    struct err e = {0};
    char path[300];
    size_t n;
    char *data = bytes_of(b, &n);
    if (CHECK_EQ(trace_open_bytes("x", data, n, &t, &e), ERR_OK)) {
        check_sample(t);
        trace_close(t);
    }
    scratch_path(path, sizeof path, "u.trace");
    CHECK_EQ(trace_write(b, path, &e), ERR_OK);
    if (CHECK_EQ(trace_open(path, &t, &e), ERR_OK)) {
        check_sample(t);
        trace_close(t);
    }
    unlink(path);
    CHECK_EQ(trace_open(path, &t, &e), ERR_IO);
    trace_close(NULL);
    struct trace_counts c = trace_counts(b);
    CHECK(c.counterfactuals == 5 && c.repeated == 0 && c.conflicting == 0 && c.divergent == 0);
    free(data);
    trace_builder_destroy(b);
    trace_builder_destroy(NULL);
}

static void a_trace_without_extras_is_fine(void)
{
    struct trace_builder *b;
    struct trace *t;
    struct err e = {0};
    int32_t index;
    float logit;
    size_t n;
    CHECK_EQ(trace_builder_create("", "", 9, NULL, 0, 0, &b, &e), ERR_OK);
    CHECK_EQ(trace_add_request(b, "only", "t", 0, 1, PATH(3), &index, &e), ERR_OK);
    char *data = bytes_of(b, &n);
    if (CHECK_EQ(trace_open_bytes("x", data, n, &t, &e), ERR_OK)) {
        CHECK_EQ(trace_length(t, 0), 0);
        CHECK_EQ(trace_choice(t, 0, 0, NULL, 0), -1);
        CHECK_EQ(trace_top(t, 0, 0, 1, &index, &logit), 0);
        trace_close(t);
    }
    free(data);
    trace_builder_destroy(b);
}

static void the_order_of_adding_does_not_show(void)
{
    struct trace_builder *b[2] = {sample(), sample()};
    struct err e = {0};
    enum { N = 700 };
    char *data[2];
    size_t n[2];
    for (int32_t i = 0; i < N; i++)
        for (int k = 0; k < 2; k++) {
            int32_t v = k ? N - 1 - i : i;
            const int32_t token[] = {v % 2 ? prompt_b[0] : prompt_a[2], v / 2 % 75 + 22, v / 150,
                                     3};
            const int32_t choice[] = {-1, -1, -1, v % VOCAB};
            CHECK_EQ(trace_add_step(b[k], v % 2, 0, 4, token, NULL, choice, &e), ERR_OK);
        }
    for (int k = 0; k < 2; k++) {
        CHECK_EQ(trace_counts(b[k]).counterfactuals, 5 + N);
        data[k] = bytes_of(b[k], &n[k]);
    }
    CHECK(n[0] == n[1] && !memcmp(data[0], data[1], n[0]));
    struct trace *t;
    if (CHECK_EQ(trace_open_bytes("x", data[0], n[0], &t, &e), ERR_OK)) {
        for (int32_t v = 0; v < N; v++) {
            int32_t wrong[] = {v / 2 % 75 + 22, v / 150, 3};
            CHECK_EQ(trace_choice(t, v % 2, 0, wrong, 3), v % VOCAB);
            CHECK_EQ(trace_choice(t, v % 2, 0, wrong, 2), -1);
        }
        trace_close(t);
    }
    for (int k = 0; k < 2; k++) {
        free(data[k]);
        trace_builder_destroy(b[k]);
    }
}

static void repeats_conflicts_and_divergence_are_counted(void)
{
    struct trace_builder *b = sample();
    struct err e = {0};
    size_t n;
    static const int32_t again[] = {10, 50}, same[] = {-1, 70}, other[] = {-1, 73};
    CHECK_EQ(trace_add_step(b, 0, 1, 2, again, NULL, same, &e), ERR_OK);
    CHECK_EQ(trace_add_step(b, 0, 1, 2, again, NULL, other, &e), ERR_OK);
    static const int32_t token[] = {7, 10, 11}, choice[] = {10, 40, -1};
    CHECK_EQ(trace_add_step(b, 0, 0, 3, token, NULL, choice, &e), ERR_OK);
    struct trace_counts c = trace_counts(b);
    CHECK(c.counterfactuals == 5 && c.repeated == 1 && c.conflicting == 1 && c.divergent == 1);
    char *data = bytes_of(b, &n);
    struct trace *t;
    if (CHECK_EQ(trace_open_bytes("x", data, n, &t, &e), ERR_OK)) {
        check_sample(t); /* the first choice was kept */
        trace_close(t);
    }
    free(data);
    trace_builder_destroy(b);
}

#define REFUSED(call, code, text)                                                                  \
    do {                                                                                           \
        memset(&e, 0, sizeof e);                                                                   \
        CHECK_EQ((call), (code));                                                                  \
        CHECK_HAS(e.msg, (text));                                                                  \
    } while (0)

static void the_builder_refuses_what_cannot_be(void)
{
    struct trace_builder *b = NULL, *none = NULL;
    struct err e;
    int32_t i;
    char longer[200];
    const float nan = (float)NAN;
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    REFUSED(trace_builder_create("m", "", 0, NULL, 0, 0, &none, &e), ERR_RANGE, "vocabulary 0");
    REFUSED(trace_builder_create("m", "", 9, NULL, 17, 0, &none, &e), ERR_RANGE, "17 end-of-text");
    REFUSED(trace_builder_create("m", "", 9, NULL, 0, 10, &none, &e), ERR_RANGE, "top 10");
    REFUSED(trace_builder_create("m", "", 99, NULL, 0, 65, &none, &e), ERR_RANGE, "top 65");
    REFUSED(trace_builder_create("m", "", 99, eos, 1, 0, &none, &e), ERR_RANGE, "is 99");
    REFUSED(trace_builder_create(longer, "", 9, NULL, 0, 0, &none, &e), ERR_RANGE, "too long");
    REFUSED(trace_builder_create("\xff", "", 9, NULL, 0, 0, &none, &e), ERR_RANGE, "UTF-8");
    CHECK_EQ(trace_builder_create("m", "", 9, NULL, 0, 2, &b, &e), ERR_OK);
    REFUSED(trace_write(b, "unused", &e), ERR_SCHEMA, "at least one request");
    REFUSED(trace_add_request(b, "", "t", 0, 1, PATH(1), &i, &e), ERR_RANGE, "empty");
    REFUSED(trace_add_request(b, "a", "\xff", 0, 1, PATH(1), &i, &e), ERR_RANGE, "UTF-8");
    REFUSED(trace_add_request(b, "a", "t", 2, 1, PATH(1), &i, &e), ERR_RANGE, "split 2");
    REFUSED(trace_add_request(b, "a", "t", 0, 0, PATH(1), &i, &e), ERR_RANGE, "max_tokens 0");
    REFUSED(trace_add_request(b, "a", "t", 0, 1, NULL, 0, &i, &e), ERR_RANGE, "0 prompt tokens");
    REFUSED(trace_add_request(b, "a", "t", 0, 1, PATH(1, 9), &i, &e), ERR_RANGE, "token 1 of the");
    REFUSED(trace_add_request(b, "a", "t", 0, 1, PATH(-1), &i, &e), ERR_RANGE, "expected 0 to 8");
    CHECK_EQ(trace_add_request(b, "a", "t", 0, 3, PATH(1, 2), &i, &e), ERR_OK);
    REFUSED(trace_add_request(b, "a", "u", 0, 1, PATH(1), &i, &e), ERR_SCHEMA, "comes twice");
    REFUSED(trace_add_step(b, 0, 0, 1, prompt_b, NULL, prompt_b, &e), ERR_MISMATCH,
            "no continuation yet");
    REFUSED(trace_add_output(b, 1, PATH(1), &e), ERR_RANGE, "request 1");
    REFUSED(trace_add_output(b, 0, PATH(1, 2, 3, 4), &e), ERR_RANGE, "4 output tokens");
    REFUSED(trace_add_output(b, 0, PATH(1, 10), &e), ERR_RANGE, "token 1 of the continuation");
    CHECK_EQ(trace_add_output(b, 0, PATH(3, 4), &e), ERR_OK);
    CHECK_EQ(trace_add_output(b, 0, PATH(3, 4), &e), ERR_OK);
    REFUSED(trace_add_output(b, 0, PATH(3, 5), &e), ERR_MISMATCH, "two different");
    REFUSED(trace_add_output(b, 0, PATH(3), &e), ERR_MISMATCH, "two different");

    static const int32_t top[] = {1, 2, 3, 4}, wild[] = {1, 9};
    static const float flat[] = {1, 1, 0, 0}, rising[] = {1, 2};
    REFUSED(trace_add_top(b, 0, 1, 2, top, flat, &e), ERR_RANGE, "positions below 2");
    REFUSED(trace_add_top(b, 0, -1, 1, top, flat, &e), ERR_RANGE, "positions below 2");
    REFUSED(trace_add_top(b, 0, 0, 1, wild, flat, &e), ERR_RANGE, "likely token 9");
    REFUSED(trace_add_top(b, 0, 0, 1, top, rising, &e), ERR_RANGE, "descending order");
    REFUSED(trace_add_top(b, 0, 0, 1, top, (float[]){nan, nan}, &e), ERR_RANGE, "likely token");
    REFUSED(trace_add_top(b, 3, 0, 1, top, flat, &e), ERR_RANGE, "request 3");

    const int32_t token[] = {3, 7}, first[] = {-1, 1}, minus[] = {-1, -1}, choice[] = {4, 9};
    const int32_t wide[] = {3, 9}, last[] = {4};
    REFUSED(trace_add_step(b, 0, 1, 0, token, NULL, choice, &e), ERR_RANGE, "0 rows");
    REFUSED(trace_add_step(b, 0, 1, 2, token, NULL, choice, &e), ERR_RANGE, "after row 1 is 9");
    REFUSED(trace_add_step(b, 0, 1, 2, token, first, token, &e), ERR_RANGE, "parent of row 1 is 1");
    REFUSED(trace_add_step(b, 0, 1, 2, token, minus, token, &e), ERR_RANGE, "row 1 is -1");
    REFUSED(trace_add_step(b, 0, 2, 2, token, NULL, token, &e), ERR_MISMATCH, "expected 4");
    REFUSED(trace_add_step(b, 0, 0, 2, token, NULL, token, &e), ERR_MISMATCH, "expected 2");
    REFUSED(trace_add_step(b, 0, -1, 2, token, NULL, token, &e), ERR_RANGE, "-1 true tokens");
    REFUSED(trace_add_step(b, 0, 3, 2, token, NULL, token, &e), ERR_RANGE, "3 true tokens");
    REFUSED(trace_add_step(b, 0, 1, 2, wide, NULL, token, &e), ERR_RANGE, "token 1 of the step");
    CHECK_EQ(trace_counts(b).counterfactuals, 0);
    CHECK_EQ(trace_add_step(b, 0, 2, 1, last, NULL, token, &e), ERR_OK); /* past the end */
    CHECK_EQ(trace_counts(b).counterfactuals, 1);
    REFUSED(trace_write(b, "no/such/folder/t", &e), ERR_IO, "cannot create");
    trace_builder_destroy(b);
}

static void every_truncation_is_rejected_with_the_offset(void)
{
    struct trace_builder *b = sample();
    size_t n;
    char *data = bytes_of(b, &n), want[64];
    for (size_t k = 0; k < n; k++) {
        struct trace *t = NULL;
        struct err e = {0};
        CHECK_EQ(trace_open_bytes("cut", data, k, &t, &e), ERR_CORRUPT);
        snprintf(want, sizeof want, "offset %zu: the file ends", k);
        CHECK_HAS(e.msg, want);
        CHECK(t == NULL);
    }
    free(data);
    trace_builder_destroy(b);
}

static void every_changed_byte_is_rejected_with_the_offset(void)
{
    struct trace_builder *b = sample();
    size_t n;
    char *data = bytes_of(b, &n);
    for (size_t k = 0; k < n; k++)
        for (int bit = 0; bit < 8; bit++) {
            struct trace *t = NULL;
            struct err e = {0};
            data[k] = (char)(data[k] ^ (1 << bit));
            int code = trace_open_bytes("flip", data, n, &t, &e);
            CHECK_EQ(code, k >= 8 && k < 12 ? ERR_UNSUPPORTED : ERR_CORRUPT);
            CHECK_HAS(e.msg, "offset ");
            if (!code)
                trace_close(t);
            data[k] = (char)(data[k] ^ (1 << bit));
        }
    struct trace *t;
    struct err e = {0};
    data = realloc(data, n + 1);
    data[n] = 0;
    CHECK_EQ(trace_open_bytes("long", data, n + 1, &t, &e), ERR_CORRUPT);
    free(data);
    trace_builder_destroy(b);
}

/* A hostile writer has the checksums right. Changes what `change` likes, mends them, and opens. */
static int hostile(void (*change)(char *, struct trace_header *), struct err *e)
{
    struct trace_builder *b = sample();
    size_t n;
    char *data = bytes_of(b, &n);
    struct trace_header h;
    struct trace *t = NULL;
    memcpy(&h, data, sizeof h);
    change(data, &h);
    for (int i = 0; i < TRACE_SECTIONS; i++)
        if (h.section[i].offset <= n && h.section[i].bytes <= n - h.section[i].offset)
            h.section[i].crc =
                hash_crc32(0, data + h.section[i].offset, (size_t)h.section[i].bytes);
    h.crc = hash_crc32(0, &h, offsetof(struct trace_header, crc));
    memcpy(data, &h, sizeof h);
    memset(e, 0, sizeof *e);
    int code = trace_open_bytes("hostile", data, n, &t, e);
    if (!code)
        trace_close(t);
    free(data);
    trace_builder_destroy(b);
    return code;
}

/* One function per change: `d` is the file, `h` its header. */
#define CHANGE(name, ...)                                                                          \
    static void name(char *d, struct trace_header *h)                                              \
    {                                                                                              \
        struct trace_record *r = (void *)(d + h->section[TRACE_REQUESTS].offset);                  \
        int32_t *token = (void *)(d + h->section[TRACE_TOKENS].offset);                            \
        int32_t *top = (void *)(d + h->section[TRACE_TOP_IDS].offset);                             \
        float *logit = (void *)(d + h->section[TRACE_LOGITS].offset);                              \
        struct trace_entry *c = (void *)(d + h->section[TRACE_CHOICES].offset);                    \
        char *text = d + h->section[TRACE_TEXT].offset;                                            \
        (void)r, (void)token, (void)top, (void)logit, (void)c, (void)text;                         \
        __VA_ARGS__;                                                                               \
    }

CHANGE(nothing, (void)0)
CHANGE(header_size, h->header_bytes = 8)
CHANGE(file_size, h->file_bytes = UINT64_MAX)
CHANGE(file_junk, h->file_bytes -= 5)
CHANGE(no_vocabulary, h->n_vocab = 0)
CHANGE(eos_count, h->n_eos = 1000000)
CHANGE(eos_range, h->eos[1] = VOCAB)
CHANGE(eos_rest, h->eos[5] = 0)
CHANGE(model_endless, memset(h->model, 'x', sizeof h->model))
CHANGE(numerics_bytes, h->numerics[0] = '\xff')
CHANGE(no_requests, h->n_requests = 0)
CHANGE(many_requests, h->n_requests = INT32_MAX)
CHANGE(top_count, h->top_k = 65)
CHANGE(top_none, h->top_k = 0)
CHANGE(many_tokens, h->n_tokens = UINT64_MAX / 4 + 3)
CHANGE(many_choices, h->n_choices = UINT64_MAX / 24 + 3)
CHANGE(many_tops, h->n_top = UINT64_MAX / 8)
CHANGE(long_text, h->text_bytes = UINT64_MAX)
CHANGE(no_text, h->text_bytes = 0)
CHANGE(section_away, h->section[TRACE_TOKENS].offset = UINT64_MAX - 7)
CHANGE(section_over, h->section[TRACE_TOKENS].offset -= 8)
CHANGE(section_long, h->section[TRACE_TEXT].bytes += 8)
CHANGE(section_short, h->text_bytes = 7, h->section[TRACE_TEXT].bytes = 8)
CHANGE(section_zero, h->section[TRACE_TEXT].zero = 1)
CHANGE(header_zero, h->zero = 1)
CHANGE(prompt_none, r[0].n_prompt = 0)
CHANGE(prompt_long, r[1].n_prompt = INT32_MAX)
CHANGE(choices_short, r[1].n_choices = 1)
CHANGE(output_less, r[0].n_output = -1)
CHANGE(output_more, r[0].max_tokens = 3)
CHANGE(choices_less, r[0].n_choices = -1)
CHANGE(choices_more, r[1].n_choices = 3)
CHANGE(choices_away, r[1].choice = UINT64_MAX)
CHANGE(token_away, r[1].token = 3)
CHANGE(top_away, r[1].top = 0)
CHANGE(split_range, r[1].split = 2)
CHANGE(record_zero, r[1].zero = 2)
CHANGE(id_away, r[1].id = UINT64_MAX - 3)
CHANGE(task_away, r[1].task = h->text_bytes)
CHANGE(id_empty, r[1].id = 1)
CHANGE(id_twice, r[1].id = r[0].id)
CHANGE(id_bytes, text[0] = '\xff')
CHANGE(text_endless, text[h->text_bytes - 1] = 'x')
CHANGE(token_less, token[9] = -1)
CHANGE(token_more, token[0] = VOCAB)
CHANGE(entry_true, c[0].n_true = 5)
CHANGE(entry_minus, c[0].n_true = -1)
CHANGE(entry_wrong, c[0].n_wrong = 0)
CHANGE(entry_order, c[0].n_wrong = 3)
CHANGE(entry_same, c[1] = c[0])
CHANGE(entry_choice, c[4].choice = VOCAB)
CHANGE(entry_zero, c[4].zero = 1)
CHANGE(top_range, top[2] = VOCAB)
CHANGE(top_half, top[3] = -1)
CHANGE(top_late, top[1] = 5)
CHANGE(logit_nan, logit[2] = (float)NAN)
CHANGE(logit_infinite, logit[2] = (float)INFINITY)
CHANGE(logit_rising, logit[3] = 2.75f)
CHANGE(logit_absent, logit[0] = 1)

static const struct {
    void (*change)(char *, struct trace_header *);
    const char *msg;
} hostile_change[] = {
    {header_size, "the header's checksum"},
    {file_size, "expected 18446744073709551615 bytes"},
    {file_junk, "the trace ends here, and 5 more bytes follow: expected none"},
    {no_vocabulary, "the header's numbers"},
    {eos_count, "the header's numbers"},
    {eos_range, "end-of-text token 1 is 100"},
    {eos_rest, "end-of-text token 5 is 0"},
    {model_endless, "the header's numbers and names"},
    {numerics_bytes, "the header's numbers and names"},
    {no_requests, "the header's numbers"},
    {many_requests, "the section of requests"},
    {top_count, "the header's numbers"},
    {top_none, "counts more"},
    {many_tokens, "counts more"},
    {many_choices, "counts more"},
    {many_tops, "counts more"},
    {long_text, "counts more"},
    {no_text, "the section of texts"},
    {section_away, "the section of tokens"},
    {section_over, "the section of tokens"},
    {section_long, "the section of texts"},
    {section_short, "goes on after its last section"},
    {section_zero, "the section of texts"},
    {header_zero, "the header's numbers"},
    {prompt_none, "request 0 contradicts"},
    {prompt_long, "request 1 has more than"},
    {choices_short, "do not add up"},
    {output_less, "request 0 contradicts"},
    {output_more, "request 0 contradicts"},
    {choices_less, "request 0 contradicts"},
    {choices_more, "request 1 has more than"},
    {choices_away, "request 1 contradicts"},
    {token_away, "request 1 contradicts"},
    {top_away, "request 1 contradicts"},
    {split_range, "request 1 contradicts"},
    {record_zero, "request 1 contradicts"},
    {id_away, "request 1 contradicts"},
    {task_away, "request 1 contradicts"},
    {id_empty, "the id or task of request 1"},
    {id_twice, "the id of request 1 comes twice"},
    {id_bytes, "the id or task of request 0"},
    {text_endless, "do not end with a NUL"},
    {token_less, "token -1 is outside"},
    {token_more, "token 100 is outside"},
    {entry_true, "out of range or out of order"},
    {entry_minus, "out of range or out of order"},
    {entry_wrong, "out of range or out of order"},
    {entry_order, "out of range or out of order"},
    {entry_same, "out of range or out of order"},
    {entry_choice, "out of range or out of order"},
    {entry_zero, "out of range or out of order"},
    {top_range, "token 100 with logit"},
    {top_half, "token -1 with logit"},
    {top_late, "token 5 with logit"},
    {logit_nan, "is no likely token"},
    {logit_infinite, "is no likely token"},
    {logit_rising, "token 9 with logit 2.75"},
    {logit_absent, "token -1 with logit 1"},
};

static void hostile_files_are_rejected(void)
{
    struct err e;
    CHECK_EQ(hostile(nothing, &e), ERR_OK);
    for (size_t i = 0; i < sizeof hostile_change / sizeof hostile_change[0]; i++) {
        CHECK_EQ(hostile(hostile_change[i].change, &e), ERR_CORRUPT);
        CHECK_HAS(e.msg, hostile_change[i].msg);
        CHECK_HAS(e.msg, "offset ");
    }
}

static const struct unit_test tests[] = {
    {"a_workload_is_split_by_task", a_workload_is_split_by_task},
    {"items_are_chosen_evenly_over_tasks", items_are_chosen_evenly_over_tasks},
    {"bad_workloads_are_rejected_with_their_place", bad_workloads_are_rejected_with_their_place},
    {"limits_are_kept", limits_are_kept},
    {"workloads_survive_saving", workloads_survive_saving},
    {"the_shipped_corpora_load", the_shipped_corpora_load},
    {"spec_bench_is_imported", spec_bench_is_imported},
    {"text_files_are_imported", text_files_are_imported},
    {"json_lines_are_imported", json_lines_are_imported},
    {"import_options_are_checked", import_options_are_checked},
    {"a_trace_survives_writing_and_reading", a_trace_survives_writing_and_reading},
    {"a_trace_without_extras_is_fine", a_trace_without_extras_is_fine},
    {"the_order_of_adding_does_not_show", the_order_of_adding_does_not_show},
    {"repeats_conflicts_and_divergence_are_counted", repeats_conflicts_and_divergence_are_counted},
    {"the_builder_refuses_what_cannot_be", the_builder_refuses_what_cannot_be},
    {"every_truncation_is_rejected_with_the_offset", every_truncation_is_rejected_with_the_offset},
    {"every_changed_byte_is_rejected_with_the_offset",
     every_changed_byte_is_rejected_with_the_offset},
    {"hostile_files_are_rejected", hostile_files_are_rejected},
    {NULL, NULL},
};

UNIT_MAIN("traces", tests)
