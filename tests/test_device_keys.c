/* Every number of the shipped phones' device files, and of the example's, changes what some command
 * prints: one that changes nothing is not wired up, or nobody needs it. A new one is walked without
 * a word here; what is in `excepted` has a reason. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "experiments/command.h"
#include "sim/base/arena.h"
#include "sim/base/yaml.h"
#include "tests/scratch.h"
#include "tests/unit.h"

enum { MAX_COMMANDS = 4000, MAX_TEXT = 600, MAX_ARGS = 64 };

static const struct command *const commands[] = {&command_explain, &command_run, NULL};
static const struct program tandem = {.name = "tandem", .licence = "-", .commands = commands};

/* ---- what commands print -------------------------------------------------------------------- */

/* A command line, its words parted by '|', with what it printed unchanged. */
static struct {
    char line[MAX_TEXT], *text;
    int code;
} known[MAX_COMMANDS];
static int n_known;

static char *contents(int fd)
{
    off_t n = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)n + 1);
    lseek(fd, 0, SEEK_SET);
    CHECK(text && read(fd, text, (size_t)n) == n);
    for (char *at; (at = strstr(text, " (altered)"));) /* which is no effect */
        memmove(at, at + strlen(" (altered)"), strlen(at + strlen(" (altered)")) + 1);
    return text;
}

/* What the command prints, with one more --set where `set` is not NULL; of a run that fails, why.
 */
static char *printed(const char *line, const char *set, int *code)
{
    static char words[MAX_TEXT], option[] = "--set", last[MAX_TEXT], name[] = "tandem";
    char path[300], *argv[MAX_ARGS] = {name}, *rest = NULL;
    int argc = 1, kept[2], fd;
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok_r(words, "|", &rest); w; w = strtok_r(NULL, "|", &rest))
        argv[argc++] = w;
    if (set) {
        snprintf(last, sizeof last, "%s", set);
        argv[argc++] = option;
        argv[argc++] = last;
    }
    fd = open(scratch_path(path, sizeof path, "printed"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    for (int i = 0; i < 2; i++) {
        fflush(i ? stderr : stdout);
        kept[i] = dup(i + 1);
        dup2(fd, i + 1);
    }
    *code = program_main(&tandem, argc, argv);
    for (int i = 0; i < 2; i++) {
        fflush(i ? stderr : stdout);
        dup2(kept[i], i + 1);
        close(kept[i]);
    }
    char *text = contents(fd);
    close(fd);
    unlink(path);
    return text;
}

static int base_of(const char *line)
{
    int i = 0;
    while (i < n_known && strcmp(known[i].line, line))
        i++;
    if (i == n_known && CHECK(n_known < MAX_COMMANDS)) {
        n_known++;
        snprintf(known[i].line, sizeof known[i].line, "%s", line);
        known[i].text = printed(line, NULL, &known[i].code);
    }
    return i;
}

/* Whether the command prints something else. A file that is refused says nothing of a number; a run
 * that does not fit the memory any longer, or whose requests or policies the device cannot serve,
 * does. */
static bool differs(const char *line, const char *set)
{
    int code, base = base_of(line);
    if (known[base].code)
        return false;
    char *text = printed(line, set, &code);
    bool says = !code || strstr(text, "resident") || strstr(text, "over the context") ||
                strstr(text, "policy '");
    bool other = says && strcmp(text, known[base].text);
    free(text);
    return other;
}

/* ---- numbers -------------------------------------------------------------------------------- */

struct number {
    const char *device, *path;
    const char *text;             /* "37.7 GB/s" */
    const char *source;           /* of this very number; NULL */
    const struct yaml_node *unit; /* of a kernel's: backend and datatype */
    const char *processor;
};

/* Other values of the same unit: near, where ranges are narrow, and far, where limits bind; whole
 * ones of bytes, of which a part is none. */
static bool changes(const char *line, const struct number *n)
{
    static const double times[] = {1.5, 0.02, 0.6, 300};
    char *unit, set[MAX_TEXT];
    double v = strtod(n->text, &unit);
    bool whole = !*unit || !strcmp(unit, " GiB");
    if (!strcmp(unit, " GiB")) {
        unit = " MB";
        v *= 1000;
    }
    for (size_t i = 0; i <= sizeof times / sizeof *times; i++) {
        bool last = i == sizeof times / sizeof *times;
        double to = last ? v + 1 : v > 0 ? v * times[i] : (double)(7 * i + 7);
        to = whole ? (double)(int64_t)(to + 0.5) : to;
        if (n->source) /* another one would show */
            snprintf(set, sizeof set, "device.%s={value: %.12g%s, source: \"%s\"}", n->path, to,
                     unit, n->source);
        else
            snprintf(set, sizeof set, "device.%s=%.12g%s", n->path, to, unit);
        if ((!last || !*unit) && differs(line, set))
            return true;
    }
    return false;
}

static bool explained(const struct number *n, const char *options)
{
    char line[MAX_TEXT];
    snprintf(line, sizeof line, "explain|--device|%s|--format|csv%s", n->device, options);
    return changes(line, n);
}

/* A kernel's: steps of several widths of several models, on its own backend. */
static bool kernel_changes(const struct number *n)
{
    static const char *const model[] = {"llama-3.2-1b", "llama-2-7b", "phi-3.5-mini",
                                        "llama-3-8b",   "qwen2.5-7b", "gemma-2b"};
    static const int width[] = {1, 40, 64, 32, 128, 256, 512, 1024};
    char options[MAX_TEXT];
    const char *backend = "", *datatype = "";
    for (const struct yaml_node *c = n->unit->first; c; c = c->next) {
        backend = strcmp(c->key, "backend") ? backend : c->text;
        datatype = strcmp(c->key, "datatype") ? datatype : c->text;
    }
    for (size_t m = 0; m < sizeof model / sizeof *model; m++)
        for (size_t w = 0; w < sizeof width / sizeof *width; w++) {
            snprintf(options, sizeof options,
                     "|--processor|%s|--backend|%s|--datatype|%s|--model|%s|--width|%d|--context|64"
                     "|--blocks|%s",
                     n->processor, backend, datatype, model[m], width[w], m ? "0..1" : "15..16");
            if (explained(n, options))
                return true;
        }
    return explained(n, "|--model|llama-3.2-1b|--width|64|--attention|cpu") ||
           explained(n, "|--model|llama-3.2-1b|--width|1|--context|900|--attention|cpu");
}

static bool phone_changes(const struct number *n)
{
    static const char *const steps[] = {
        "|--model|llama-3.2-1b|--width|8",
        "|--model|llama-3.2-1b|--width|8|--phase|prefill",
        "|--model|llama-3.2-1b|--width|8|--processor|cpu|--backend|llama.cpp",
        "|--model|llama-3.2-1b|--width|8|--processor|cpu|--backend|llama.cpp|--phase|prefill",
        "|--model|llama-3.2-1b|--width|8|--processor|gpu",
        "|--model|llama-3.2-1b|--width|8|--processor|gpu|--backend|llama.cpp",
        "|--model|llama-3.2-1b|--width|40|--backend|heteroinfer",
        "|--model|llama-3.2-1b|--width|8|--layout|mllm|--attention|cpu|--sleeping"};
    static const char *const runs[] = {"", "|--set|graphs.load=null|--set|graphs.read_block=100 kB",
                                       "|--set|graphs.context=null",
                                       "|--set|graphs.context=null|--set|policies.all.width=24"};
    if (n->unit)
        return kernel_changes(n);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (explained(n, steps[i]))
            return true;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        char line[MAX_TEXT];
        snprintf(line, sizeof line,
                 "run|experiments/phone.yaml|--set|limit=1|--format|json"
                 "|--set|device=../hwmodels/devices/%s.yaml%s",
                 n->device, runs[i]);
        if (changes(line, n))
            return true;
    }
    return false;
}

static bool example_changes(const struct number *n)
{
    static const char *const policies[] = {
        NULL,
        "calibrate: 1, reuse: 1, drafter: aligned",
        "tree: plain, calibrate: 1, reuse: 1, drafter: aligned",
        "drafter: sam-author",
        "drafter: {lookup: {branches: 3}}",
        "tree: plain, fill: 1, width: auto, drafter: {lookup: {branches: 3}}",
    };
    static const int width[] = {1, 8, 4, 2, 3, 5, 12, 16, 32, 256};
    char line[MAX_TEXT];
    for (int i = 0; i < 20; i++) {
        snprintf(line, sizeof line, "|--width|%d|--context|%d", width[i / 2],
                 i % 2 ? 640 - width[i / 2] : 0);
        if (explained(n, line))
            return true;
    }
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        size_t at = (size_t)snprintf(line, sizeof line,
                                     "run|experiments/quickstart.yaml|--set|limit=2|--format|json");
        if (policies[i])
            snprintf(line + at, sizeof line - at,
                     "|--set|policies.4={policy: speculative, name: one, max_draft: 15, %s}",
                     policies[i]);
        if (changes(line, n))
            return true;
    }
    return false;
}

/* ---- exceptions ----------------------------------------------------------------------------- */

static const struct {
    const char *device, *end; /* NULL: any; of a path */
    const char *reason;
} excepted[] = {
    {NULL, ".threads", "says what was measured"},
    {"oneplus-13", "bus.paths.2.cap", "its only products were measured whole, by this path"},
    {"redmi-k70-pro", "bus.shared", "tandem reproduce bus reads it from the file"},
    {"redmi-k70-pro", "bus.paths.4.cap", "no kernel that was published took l2fetch"},
    {"redmi-k70-pro", "bus.paths.5.cap", "nor vector loads"},
    {"redmi-k70-pro", "sync.0.sleeping", "tandem reproduce negatives reads it from the file"},
    {"redmi-k70-pro", "operators.1.kernels.0.points.1.m", "gate and up as one: no model here"},
    {"redmi-k70-pro", "operators.1.kernels.0.points.1.n", "has a product of that shape; what was"},
    {"redmi-k70-pro", "operators.1.kernels.0.points.1.k",
     "measured is kept with the others of its"},
    {"redmi-k70-pro", "operators.1.kernels.0.points.1.time", "table"},
    {"redmi-k70-pro", "processors.1.operators.0.kernels.0.points.1.m", "the same product"},
    {"redmi-k70-pro", "processors.1.operators.0.kernels.0.points.1.n", "on the GPU"},
    {"redmi-k70-pro", "processors.1.operators.0.kernels.0.points.1.k", "the same"},
    {"redmi-k70-pro", "processors.1.operators.0.kernels.0.points.1.time", "the same"},
    {"example-2core", "limits.sequences", "no shipped policy takes a second one"},
    {"example-2core", "commit.copy", "nor copies one"},
};

static const char *reason_of(const struct number *n)
{
    for (size_t i = 0; i < sizeof excepted / sizeof *excepted; i++) {
        size_t all = strlen(n->path), end = strlen(excepted[i].end);
        bool here = !excepted[i].device || !strcmp(excepted[i].device, n->device);
        if (here && end <= all && !strcmp(n->path + all - end, excepted[i].end))
            return excepted[i].reason;
    }
    return NULL;
}

/* ---- the walk ------------------------------------------------------------------------------- */

static bool is_number(const struct yaml_node *at)
{
    return at->type == YAML_TEXT && !at->quoted && at->text[0] >= '0' && at->text[0] <= '9';
}

static const struct yaml_node *child(const struct yaml_node *map, const char *key)
{
    for (const struct yaml_node *c = map->first; c; c = c->next)
        if (c->key && !strcmp(c->key, key))
            return c;
    return NULL;
}

static int walked;

static void check(const struct number *n)
{
    bool table = !strcmp(n->device, "example-2core");
    walked++;
    if (!reason_of(n) && !CHECK(table ? example_changes(n) : phone_changes(n)))
        printf("%s: %s (%s) changes nothing\n", n->device, n->path, n->text);
}

/* `value` stands for its mapping: its range would not let it go far. The range itself is for
 * readers: nothing computes with it. */
static void walk(struct number *n, const struct yaml_node *at, const char *path)
{
    char below[300];
    struct number here = *n;
    const struct yaml_node *value = at->type == YAML_MAP ? child(at, "value") : NULL;
    here.path = path;
    if (value || is_number(at)) {
        const struct yaml_node *source = value ? child(at, "source") : NULL;
        here.text = value ? value->text : at->text;
        here.source = source ? source->text : NULL;
        if (!value || is_number(value))
            check(&here);
        return;
    }
    if (at->type == YAML_MAP && child(at, "backend"))
        here.unit = at;
    if (at->type == YAML_MAP && child(at, "kind"))
        here.processor = child(at, "name")->text;
    for (const struct yaml_node *c = at->first; c; c = c->next) {
        const char *dot = *path ? "." : "";
        if (c->key && (!strcmp(c->key, "exactness") || !strcmp(c->key, "measured")))
            continue; /* free fields, not interpreted */
        if (c->key)
            snprintf(below, sizeof below, "%s%s%s", path, dot, c->key);
        else
            snprintf(below, sizeof below, "%s%s%d", path, dot, (int)c->index);
        walk(&here, c, below);
    }
}

static void walk_device(const char *name)
{
    char path[300];
    struct arena arena;
    struct yaml y;
    struct err e = {0};
    struct number n = {.device = name};
    arena_init(&arena);
    walked = 0;
    snprintf(path, sizeof path, "hwmodels/devices/%s.yaml", name);
    if (CHECK_EQ(yaml_load(&y, path, &arena, &e), ERR_OK))
        walk(&n, y.root, "");
    CHECK(walked > 20);
    arena_fini(&arena);
}

static void numbers_of_the_oneplus_13(void)
{
    walk_device("oneplus-13");
}

static void numbers_of_the_redmi_k70_pro(void)
{
    walk_device("redmi-k70-pro");
}

static void numbers_of_the_redmi_k60_pro(void)
{
    walk_device("redmi-k60-pro");
}

static void numbers_of_the_example(void)
{
    walk_device("example-2core");
    for (int i = 0; i < n_known; i++)
        free(known[i].text);
}

static const struct unit_test tests[] = {
    {"numbers_of_the_oneplus_13", numbers_of_the_oneplus_13},
    {"numbers_of_the_redmi_k70_pro", numbers_of_the_redmi_k70_pro},
    {"numbers_of_the_redmi_k60_pro", numbers_of_the_redmi_k60_pro},
    {"numbers_of_the_example", numbers_of_the_example},
    {NULL, NULL},
};

UNIT_MAIN("device keys", tests)
