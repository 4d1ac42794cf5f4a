/* Readers of files when memory runs out: the k-th allocation fails, for every k. The linker puts
 * the functions below in the place of malloc and of the arena's (tests/CMakeLists.txt), so that
 * small pieces of an arena's block fail too; what shared libraries allocate does not. */
#include <stdlib.h>
#include <string.h>

#include "experiments/experiment.h"
#include "hwmodels/belief.h"
#include "hwmodels/device.h"
#include "sim/exec/shims.h"
#include "sim/llm/model.h"
#include "tests/scratch.h"
#include "tests/unit.h"
#include "traces/export.h"
#include "traces/trace.h"
#include "traces/workload.h"

/* ---- the allocator -------------------------------------------------------------------------- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_arena_alloc(struct arena *a, size_t count, size_t size);
char *__real_arena_strdup(struct arena *a, const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_arena_alloc(struct arena *a, size_t count, size_t size);
char *__wrap_arena_strdup(struct arena *a, const char *s);

static long left; /* allocations until one fails; 0: none fails any more */
static long asked;

static bool fails(void)
{
    asked++;
    return left && !--left;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_arena_alloc(struct arena *a, size_t count, size_t size)
{
    return fails() ? NULL : __real_arena_alloc(a, count, size);
}

char *__wrap_arena_strdup(struct arena *a, const char *s)
{
    return fails() ? NULL : __real_arena_strdup(a, s);
}

/* ---- readers -------------------------------------------------------------------------------- */

static char path[300];

static int read_device(struct arena *a, struct err *e)
{
    static const char *const set[] = {"device.limits.context=640"};
    struct device d;
    return device_load("tests/fuzz/corpus/device/small", set, 1, a, &d, e);
}

static int read_belief(struct arena *a, struct err *e)
{
    struct belief b;
    return belief_load("tests/fuzz/corpus/device/belief", a, &b, e);
}

static int read_experiment(struct arena *a, struct err *e)
{
    static struct experiment x;
    static const char *const set[] = {"policies.1.max_draft=5", "device.bus.dram=9 GB/s"};
    return experiment_load("experiments/quickstart.yaml", set, 2, a, &x, e);
}

static int read_workload(struct arena *a, struct err *e)
{
    struct workload w;
    (void)a;
    int rc = workload_load("traces/workloads/reply.jsonl", SPLIT_ALTERNATE, &w, e);
    workload_fini(&w);
    return rc;
}

static int read_import(struct arena *a, struct err *e)
{
    const struct import_options o = {
        .from = IMPORT_JSONL, .field = "prompt", .task = "t", .max_tokens = 9};
    static const char *const file[] = {"traces/workloads/reply.jsonl"};
    struct workload w;
    (void)a;
    int rc = workload_import(&o, file, 1, &w, e);
    workload_fini(&w);
    return rc;
}

static int read_trace(struct arena *a, struct err *e)
{
    struct trace *t;
    (void)a;
    int rc = trace_open("traces/quickstart.trace", &t, e);
    if (!rc)
        trace_close(t);
    return rc;
}

static int read_gguf(struct arena *a, struct err *e)
{
    struct model_desc m;
    (void)a;
    return model_from_gguf("tests/fuzz/corpus/gguf/whole", &m, e);
}

typedef int (*exporter)(struct log_reader *r, FILE *f, struct err *e);

static int export_to(exporter to, struct err *e)
{
    struct log_reader *r;
    FILE *f = fopen("/dev/null", "w");
    if (!CHECK(f != NULL))
        exit(1);
    int rc = log_open(path, &r, e);
    if (!rc) {
        rc = to(r, f, e);
        log_close_reader(r);
    }
    fclose(f);
    return rc;
}

static int text_of_two(struct log_reader *r, FILE *f, struct err *e)
{
    return export_text(r, f, 2, e);
}

static int read_log(struct arena *a, struct err *e)
{
    (void)a;
    return export_to(text_of_two, e);
}

static int read_csv(struct arena *a, struct err *e)
{
    (void)a;
    return export_to(export_csv, e);
}

static int read_perfetto(struct arena *a, struct err *e)
{
    (void)a;
    return export_to(export_perfetto, e);
}

static int read_replay(struct arena *a, struct err *e)
{
    struct log_reader *r;
    struct run_setup setup;
    struct exec_caps caps;
    struct request *request;
    struct exec *x;
    int32_t n;
    int rc = log_open(path, &r, e);
    if (rc)
        return rc;
    rc = log_setup(r, NULL, &setup, &caps, e);
    log_close_reader(r);
    if (!rc)
        rc = replay_requests(path, a, &request, &n, e);
    if (!rc)
        rc = replay_create(path, &setup, &x, e);
    if (rc)
        return rc;
    struct run_result result;
    rc = driver_run(&setup, x, request, n, a, &result, e);
    if (!rc)
        rc = replay_finish(x, e);
    x->ops->destroy(x);
    return rc;
}

/* ---- every k -------------------------------------------------------------------------------- */

static long most;

static void every_allocation(int (*read)(struct arena *a, struct err *e), const char *what)
{
    struct arena arena;
    struct err e;
    int rc = ERR_NOMEM;
    long k = 0, broken = 0;
    do {
        e = (struct err){0};
        arena_init(&arena);
        asked = 0;
        left = ++k;
        rc = read(&arena, &e);
        bool failed = !left;
        left = 0;
        arena_fini(&arena);
        /* A read that did without what failed, or one that names the wrong error. */
        bool good = failed ? rc == ERR_NOMEM && e.code == rc && e.msg[0] : rc == ERR_OK;
        if (!good && !broken++)
            printf("  %s, allocation %ld of at least %ld: %s: '%s'\n", what, k, asked, err_text(rc),
                   e.msg);
        if (!failed)
            break;
    } while (k < 100000);
    CHECK_EQ(rc, ERR_OK);
    CHECK_EQ(broken, 0);
    most = k > most ? k : most;
}

static void readers_of_yaml_survive(void)
{
    every_allocation(read_device, "device");
    every_allocation(read_belief, "belief");
    every_allocation(read_experiment, "experiment");
}

static void readers_of_json_lines_survive(void)
{
    every_allocation(read_workload, "workload");
    every_allocation(read_import, "import");
}

static void readers_of_binary_files_survive(void)
{
    every_allocation(read_trace, "trace");
    every_allocation(read_gguf, "gguf");
}

static void copy_log(void)
{
    char buf[16384];
    FILE *from = fopen("tests/fuzz/corpus/log/speculative", "rb");
    FILE *to = fopen(scratch_path(path, sizeof path, "alloc.log"), "wb");
    if (!CHECK(from && to))
        exit(1);
    size_t n = fread(buf, 1, sizeof buf, from);
    CHECK(n < sizeof buf && fwrite(buf, 1, n, to) == n);
    fclose(from);
    fclose(to);
}

static void readers_of_logs_survive(void)
{
    copy_log();
    every_allocation(read_log, "log as text");
    every_allocation(read_csv, "log as CSV");
    every_allocation(read_perfetto, "log for Perfetto");
    every_allocation(read_replay, "replay");
    remove(path);
}

/* Without this a build that does not put the functions in place would pass. */
static void allocations_are_counted(void)
{
    CHECK(most > 100);
}

static const struct unit_test tests[] = {
    {"readers_of_yaml_survive", readers_of_yaml_survive},
    {"readers_of_json_lines_survive", readers_of_json_lines_survive},
    {"readers_of_binary_files_survive", readers_of_binary_files_survive},
    {"readers_of_logs_survive", readers_of_logs_survive},
    {"allocations_are_counted", allocations_are_counted},
    {NULL, NULL},
};

UNIT_MAIN("alloc", tests)
