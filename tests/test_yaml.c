#include "sim/base/yaml.h"
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- units ---------------------------------------------------------------------------------- */

static void units_convert_exactly(void)
{
    static const struct {
        const char *text;
        enum unit unit;
        int64_t want;
        const char *written;
    } ok[] = {
        {"5400 ns", UNIT_NS, 5400, "5.4 us"},
        {"1.2 ms", UNIT_NS, 1200000, "1.2 ms"},
        {"0.000000001 s", UNIT_NS, 1, "1 ns"},
        {"2.5 min", UNIT_NS, 150000000000, "150 s"},
        {"3\xc2\xb5s", UNIT_NS, 3000, "3 us"},
        {"1.000001 s", UNIT_NS, 1000001000, "1.000001 s"},
        {"9223372036854775807 ns", UNIT_NS, INT64_MAX, "9223372036.854775807 s"},
        {"0 ns", UNIT_NS, 0, "0 ns"},
        {"8.5 GB/s", UNIT_BYTES_PER_S, 8500000000, "8.5 GB/s"},
        {"1.5 KiB", UNIT_BYTES, 1536, "1.536 kB"},
        {"3 W", UNIT_MW, 3000, "3 W"},
        {"999 mW", UNIT_MW, 999, "999 mW"},
        {"2.4 GHz", UNIT_KHZ, 2400000, "2.4 GHz"},
        {"-7.25 C", UNIT_MC, -7250, "-7.25 C"},
        {"45 \xc2\xb0"
         "C",
         UNIT_MC, 45000, "45 C"},
    };
    for (size_t i = 0; i < sizeof ok / sizeof *ok; i++) {
        char buf[40];
        int64_t v = -1;
        CHECK_EQ(unit_parse(ok[i].text, ok[i].unit, &v, NULL), ERR_OK);
        CHECK_EQ(v, ok[i].want);
        CHECK_STR(unit_format(v, ok[i].unit, buf, sizeof buf), ok[i].written);
        CHECK_EQ(unit_parse(buf, ok[i].unit, &v, NULL), ERR_OK);
        CHECK_EQ(v, ok[i].want);
    }
}

static void units_refuse(void)
{
    static const struct {
        const char *text;
        enum unit unit;
        int code;
        const char *has;
    } bad[] = {
        {"80", UNIT_BYTES_PER_S, ERR_SCHEMA,
         "the unit is missing: expected a bandwidth, as in '8.5 GB/s' (B/s, kB/s, MB/s, GB/s, "
         "MiB/s, GiB/s)"},
        {"80 GB", UNIT_BYTES_PER_S, ERR_SCHEMA, "'GB' is no unit here"},
        {"80  GB/s", UNIT_BYTES_PER_S, ERR_SCHEMA, "' GB/s' is no unit here"},
        {"", UNIT_NS, ERR_SCHEMA, "expected a time"},
        {"+1 ns", UNIT_NS, ERR_SCHEMA, "expected a time"},
        {"1. ns", UNIT_NS, ERR_SCHEMA, "expected a time"},
        {".5 ns", UNIT_NS, ERR_SCHEMA, "expected a time"},
        {"0x10 ns", UNIT_NS, ERR_SCHEMA, "'x10 ns' is no unit here"},
        {"nan ms", UNIT_NS, ERR_SCHEMA, "expected a time"},
        {"inf", UNIT_MW, ERR_SCHEMA, "expected a power"},
        {"1e3 ns", UNIT_NS, ERR_SCHEMA, "'e3 ns' is no unit here"},
        {"1111111111111111111 B", UNIT_BYTES, ERR_OK, ""},
        {"11111111111111111111 B", UNIT_BYTES, ERR_SCHEMA, "expected a size"},
        {"9223372036854775808 ns", UNIT_NS, ERR_RANGE, "too large"},
        {"9223372037 s", UNIT_NS, ERR_RANGE, "too large: expected at most 9223372036854775807 ns"},
        {"0.5 ns", UNIT_NS, ERR_RANGE, "finer than 1 ns"},
        {"1.0001 us", UNIT_NS, ERR_RANGE, "finer than 1 ns"},
        {"-1 ns", UNIT_NS, ERR_RANGE, "negative"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        int64_t v = -1;
        CHECK_EQ(unit_parse(bad[i].text, bad[i].unit, &v, &e), bad[i].code);
        CHECK_HAS(e.msg, bad[i].has);
    }
}

/* ---- a schema to test with ------------------------------------------------------------------ */

static const char *const width_words[] = {"plain", "recompute", NULL};
static const struct param spec[] = {
    {.name = "width", .help = "rows", .def = 8, .min = 1, .max = 64, .allow_auto = 1},
    {.name = "mode", .help = "tree", .def = 0, .choice = width_words},
    {.name = NULL},
};

struct sample {
    const char *name, *note;
    int64_t threads, bus, temperature, time;
    double ratio;
    bool on;
    int kind;
    int32_t n, n_items;
    int64_t *list;
    int64_t item[8];
    int64_t param[PARAM_MAX];
    const char *source;
};

static int read_sample(struct yaml *y, struct sample *s)
{
    static const char *const kinds[] = {"cpu", "gpu", "npu", NULL};
    struct yaml_node *r = y->root;
    memset(s, 0, sizeof *s);
    s->name = yaml_str(y, r, "name");
    s->note = yaml_str_or(y, r, "note", "none");
    s->threads = yaml_int(y, r, "threads", 1, 64);
    s->ratio = yaml_double_or(y, r, "ratio", -1, 1e6, 0.25);
    s->on = yaml_bool_or(y, r, "on", true);
    s->kind = yaml_enum_or(y, r, "kind", kinds, 2);
    s->time = yaml_quantity_or(y, r, "time", UNIT_NS, -1);
    struct yaml_node *bus = yaml_map_or(y, r, "bus");
    if (bus) {
        s->bus = yaml_quantity(y, bus, "dram", UNIT_BYTES_PER_S);
        s->temperature = yaml_quantity_or(y, bus, "temperature", UNIT_MC, 20000);
        s->source = yaml_own_source(y, bus);
    }
    if (yaml_get(y, r, "list"))
        s->list = yaml_ints(y, r, "list", -5, 1000, &s->n);
    struct yaml_node *items = yaml_list_or(y, r, "items");
    for (struct yaml_node *c = items ? items->first : NULL; c && s->n_items < 8; c = c->next) {
        yaml_str(y, c, "name");
        s->item[s->n_items++] = yaml_int(y, c, "v", 0, 100);
    }
    yaml_params(y, r, "params", spec, s->param);
    return yaml_done(y);
}

/* Parses, applies `set` when not NULL, reads; the formatted error goes to buf. */
static int read_text(const char *text, size_t n, const char *set, bool need_source, struct arena *a,
                     struct sample *s, char *buf, size_t size)
{
    struct err e = {0};
    struct yaml y;
    int code = yaml_parse(&y, "t.yaml", text, n, a, &e);
    y.need_source = need_source;
    if (!code && set)
        code = yaml_set(&y, "device", set);
    CHECK_EQ(code, y.code);
    int end = read_sample(&y, s); /* must be harmless after an error */
    CHECK_EQ(code ? code : end, end);
    CHECK_EQ(e.code, end);
    buf[0] = 0;
    if (end)
        err_format(&e, buf, size);
    return end;
}

static void check_error(const char *text, const char *set, bool need_source, const char *want)
{
    struct arena a;
    arena_init(&a);
    struct sample s;
    char buf[1200];
    int code = read_text(text, strlen(text), set, need_source, &a, &s, buf, sizeof buf);
    if (!CHECK_STR(buf, want) || !CHECK((code != ERR_OK) == (*want != 0)))
        printf("  for: %s  --set %s\n", text, set ? set : "-");
    arena_fini(&a);
}

static void reads_every_type(void)
{
    static const char text[] = "# comment\n"
                               "name: \"a \\u00e9 b\"\n"
                               "threads: 2\n"
                               "ratio: -0.5e-1\n"
                               "on: false\n"
                               "kind: gpu\n"
                               "time: 1.25 us\n"
                               "bus: {dram: 8.5 GB/s, temperature: -3 C}\n"
                               "list: [1, -5, 1000]\n"
                               "items:\n"
                               "  - {name: x, v: 7}\n"
                               "  - name: y\n"
                               "    v: 9\n"
                               "params: {width: auto, mode: recompute}\n";
    struct arena a;
    arena_init(&a);
    struct sample s;
    char buf[1200];
    CHECK_EQ(read_text(text, sizeof text - 1, NULL, false, &a, &s, buf, sizeof buf), ERR_OK);
    CHECK_STR(buf, "");
    CHECK_STR(s.name, "a \xc3\xa9 b");
    CHECK_STR(s.note, "none");
    CHECK_EQ(s.threads, 2);
    CHECK_NEAR(s.ratio, -0.05, 0);
    CHECK_EQ(s.on, false);
    CHECK_EQ(s.kind, 1);
    CHECK_EQ(s.time, 1250);
    CHECK_EQ(s.bus, 8500000000);
    CHECK_EQ(s.temperature, -3000);
    CHECK_EQ(s.n, 3);
    CHECK_EQ(s.list[1], -5);
    CHECK_EQ(s.n_items, 2);
    CHECK_EQ(s.item[0], 7);
    CHECK_EQ(s.item[1], 9);
    CHECK_EQ(s.param[0], PARAM_AUTO);
    CHECK_EQ(s.param[1], 1);
    arena_fini(&a);
}

static void defaults_stand_for_absent_and_null(void)
{
    static const char text[] = "name: 0\nthreads: 64\nratio: null\non: ~\nkind:\ntime: null\n"
                               "note: null\nbus: null\nitems: null\nparams: {width: null}\n";
    struct arena a;
    arena_init(&a);
    struct sample s;
    char buf[1200];
    CHECK_EQ(read_text(text, sizeof text - 1, NULL, true, &a, &s, buf, sizeof buf), ERR_SCHEMA);
    CHECK_STR(buf, "t.yaml:2:10: threads is '64': it has no source: add 'source: where it is from' "
                   "here or in a mapping above");
    CHECK_EQ(read_text(text, sizeof text - 1, NULL, false, &a, &s, buf, sizeof buf), ERR_OK);
    CHECK_STR(s.name, "0");
    CHECK_STR(s.note, "none");
    CHECK_NEAR(s.ratio, 0.25, 0);
    CHECK_EQ(s.on, true);
    CHECK_EQ(s.kind, 2);
    CHECK_EQ(s.time, -1);
    CHECK_EQ(s.param[0], 8);
    arena_fini(&a);
}

/* ---- errors --------------------------------------------------------------------------------- */

#define OK_TOP "name: a\nthreads: 2\n"

static const struct {
    const char *text, *want;
} malformed[] = {
    {"", "t.yaml:1:1: the file is empty: expected 'key: value' lines"},
    {"- 1\n", "t.yaml:1:1: expected a mapping, 'key: value' lines"},
    {"threads: 2\n", "t.yaml:1:1: 'name' is missing: add it, a text"},
    {"nmae: a\nthreads: 2\n", "t.yaml:1:1: 'name' is missing: is 'nmae' meant to be it (a "
                              "text)?"},
    {"name: ''\nthreads: 2\n", "t.yaml:1:7: name is the text \"\": it is empty: expected a text"},
    {"name: a\nthreads: 0\n", "t.yaml:2:10: threads is '0': expected a whole number from 1 to "
                              "64"},
    {"name: a\nthreads: 65\n", "t.yaml:2:10: threads is '65': expected a whole number from 1 "
                               "to 64"},
    {"name: a\nthreads: 1e999\n", "t.yaml:2:10: threads is '1e999': expected a whole number "
                                  "from 1 to 64"},
    {"name: a\nthreads: 0x2\n", "t.yaml:2:10: threads is '0x2': expected a whole number from 1 "
                                "to 64"},
    {"name: a\nthreads: +2\n", "t.yaml:2:10: threads is '+2': expected a whole number from 1 "
                               "to 64"},
    {"name: a\nthreads: 010\n", "t.yaml:2:10: threads is '010': expected a whole number from 1 "
                                "to 64"},
    {"name: a\nthreads: 99999999999999999999\n",
     "t.yaml:2:10: threads is '99999999999999999999': expected a whole number from 1 to 64"},
    {"name: a\nthreads: \"2\"\n", "t.yaml:2:10: threads is the text \"2\": expected a whole "
                                  "number from 1 to 64; if it is none, remove the quotes"},
    {"name: a\nthreads: null\n", "t.yaml:2:10: threads is null: expected a whole number from 1 "
                                 "to 64"},
    {"name: a\nthreads: [2]\n", "t.yaml:2:10: threads is a list of 1: expected a whole number "
                                "from 1 to 64"},
    {OK_TOP "ratio: nan\n", "t.yaml:3:8: ratio is 'nan': expected a number from -1 to 1000000"},
    {OK_TOP "ratio: .inf\n", "t.yaml:3:8: ratio is '.inf': expected a number from -1 to 1000000"},
    {OK_TOP "ratio: 1e999\n", "t.yaml:3:8: ratio is '1e999': expected a number from -1 to 1000000"},
    {OK_TOP "ratio: 1e-999\n",
     "t.yaml:3:8: ratio is '1e-999': expected a number from -1 to 1000000"},
    {OK_TOP "ratio: 1.\n", "t.yaml:3:8: ratio is '1.': expected a number from -1 to 1000000"},
    {OK_TOP "ratio: -1.01\n", "t.yaml:3:8: ratio is '-1.01': expected a number from -1 to 1000000"},
    {OK_TOP "on: yes\n", "t.yaml:3:5: on is 'yes': expected true or false"},
    {OK_TOP "kind: tpu\n", "t.yaml:3:7: kind is 'tpu': expected one of cpu, gpu, npu"},
    {OK_TOP "time: 5\n", "t.yaml:3:7: time is '5': the unit is missing: expected a time, as in "
                         "'1.2 ms' (ns, us, ms, s, min, \xc2\xb5s)"},
    {OK_TOP "time: 5 W\n", "t.yaml:3:7: time is '5 W': 'W' is no unit here: expected a time, "
                           "as in '1.2 ms' (ns, us, ms, s, min, \xc2\xb5s)"},
    {OK_TOP "bus:\n  dram: 1 GB/s\n  drum: 2\n",
     "t.yaml:5:3: unknown key 'drum' ('2') in bus: expected one of dram, source, temperature, "
     "correct or remove it; did you mean 'dram'?"},
    {OK_TOP "bus: {}\n", "t.yaml:3:6: bus: 'dram' is missing: add it, a bandwidth, as in '8.5 "
                         "GB/s' (B/s, kB/s, MB/s, GB/s, MiB/s, GiB/s)"},
    {OK_TOP "bus: 5\n", "t.yaml:3:6: bus is '5': expected a mapping, 'key: value' lines"},
    {OK_TOP "extra: [1, 2]\n",
     "t.yaml:3:1: unknown key 'extra' (a list of 2) in the file: expected one of name, "
     "threads, params, items, list, bus, time, kind, on, ratio, note, correct or remove it"},
    {OK_TOP "list: [1, x]\n",
     "t.yaml:3:11: list.1 is 'x': expected a whole number from -5 to 1000"},
    {OK_TOP "list: [1, 1001]\n",
     "t.yaml:3:11: list.1 is '1001': expected a whole number from -5 to 1000"},
    {OK_TOP "list: 3\n", "t.yaml:3:7: list is '3': expected a list, as in [a, b]"},
    {OK_TOP "items: [4]\n", "t.yaml:3:9: items.0 is '4': expected a mapping, 'key: value' lines"},
    {OK_TOP "items: [{name: q, v: 3, w: 1}]\n",
     "t.yaml:3:25: unknown key 'w' ('1') in items.0: expected one of name, v, correct or "
     "remove it"},
    {OK_TOP "params: {width: 65}\n", "t.yaml:3:17: params.width is '65': "
                                     "expected a whole number from 1 to 64, or auto"},
    {OK_TOP "params: {with: 6}\n",
     "t.yaml:3:10: unknown parameter 'with': expected one of width, mode"},
    {OK_TOP "name: b\n", "t.yaml:3:1: duplicate key 'name' (first in line 1): remove one of them"},
    {OK_TOP "note: &x a\n", "t.yaml:3:7: anchor '&x': anchors are not supported, write the "
                            "value out"},
    {OK_TOP "items: &x [*x]\n", "t.yaml:3:8: anchor '&x': anchors are not supported, write the "
                                "value out"},
    {OK_TOP "note: *x\n", "t.yaml:3:7: alias '*x': aliases are not supported, write the value out"},
    {OK_TOP "note: !!str a\n", "t.yaml:3:7: tag 'tag:yaml.org,2002:str': tags are not "
                               "supported, remove it"},
    {OK_TOP "? [a]\n: 1\n", "t.yaml:3:3: a key is a list or a mapping: expected plain text"},
    {OK_TOP "bus: {'': 1}\n", "t.yaml:3:7: a key is empty: write 'key: value'"},
    {"a: 1\n---\nb: 1\n", "t.yaml:2:1: a second document: expected one per file, remove '---'"},
    {OK_TOP "note: \"a\\0b\"\n", "t.yaml:3:7: a NUL character in a text: remove it"},
    {OK_TOP "note: \xc3(\n", "t.yaml:3:7: byte 0xc3 is not UTF-8: save the file as UTF-8"},
    {OK_TOP "note: \xc3\xa9 \xed\xa0\x80\n",
     "t.yaml:3:9: byte 0xed is not UTF-8: save the file as UTF-8"},
    {OK_TOP "note: ab\x01\n", "t.yaml:3:9: byte 0x01 is a control character, no text: remove it"},
    {OK_TOP "note: [1, 2\n", "t.yaml:4:1: malformed YAML: while parsing a flow sequence, did "
                             "not find expected ',' or ']': correct the text here"},
    {OK_TOP "\tnote: 1\n",
     "t.yaml:3:1: malformed YAML: while scanning a plain scalar, found a tab character "
     "that violates indentation: correct the text here"},
};

static void refuses_with_position(void)
{
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        check_error(malformed[i].text, NULL, false, malformed[i].want);
}

static void refuses_what_is_too_large(void)
{
    struct arena a;
    arena_init(&a);
    struct yaml y;
    struct err e = {0};
    char buf[1200];
    char *big = malloc((size_t)YAML_MAX_BYTES + 1);
    if (!CHECK(big != NULL))
        return;

    memset(big, ' ', (size_t)YAML_MAX_BYTES + 1);
    CHECK_EQ(yaml_parse(&y, "t", big, (size_t)YAML_MAX_BYTES + 1, &a, &e), ERR_LIMIT);
    CHECK_STR(err_format(&e, buf, sizeof buf), "t:1:1: larger than 16 MiB");

    memcpy(big, "a: ", 3);
    memset(big + 3, '[', YAML_MAX_DEPTH);
    memset(&e, 0, sizeof e);
    CHECK_EQ(yaml_parse(&y, "t", big, 3 + YAML_MAX_DEPTH, &a, &e), ERR_LIMIT);
    CHECK_STR(err_format(&e, buf, sizeof buf),
              "t:1:35: nested more than 32 deep, the limit here: write it flatter");

    size_t n = 4;
    memcpy(big, "a: [", 4);
    for (int i = 0; i < YAML_MAX_NODES; i++) {
        memcpy(big + n, "1,", 2);
        n += 2;
    }
    memset(&e, 0, sizeof e);
    CHECK_EQ(yaml_parse(&y, "t", big, n, &a, &e), ERR_LIMIT);
    CHECK_HAS(err_format(&e, buf, sizeof buf), "more than 262144 values: split the file");

    n = 0;
    for (int i = 0; i <= YAML_MAX_KEYS; i++)
        n += (size_t)snprintf(big + n, 32, "k%d: 1\n", i);
    memset(&e, 0, sizeof e);
    CHECK_EQ(yaml_parse(&y, "t", big, n, &a, &e), ERR_LIMIT);
    CHECK_STR(err_format(&e, buf, sizeof buf), "t:1025:1: more than 1024 keys in one mapping");

    memset(&e, 0, sizeof e);
    CHECK_EQ(yaml_load(&y, "tests/no-such-file.yaml", &a, &e), ERR_IO);
    CHECK_HAS(err_format(&e, buf, sizeof buf), "tests/no-such-file.yaml");
    free(big);
    arena_fini(&a);
}

static void refuses_every_truncation_of_a_structure(void)
{
    static const char text[] = "name: a\nthreads: 2\nitems: [{name: \"q\", v: 3}]";
    struct arena a;
    arena_init(&a);
    struct sample s;
    char buf[1200];
    const char *at = strstr(text, "[");
    for (size_t n = (size_t)(at - text) + 1; n < sizeof text - 1; n++)
        CHECK_EQ(read_text(text, n, NULL, false, &a, &s, buf, sizeof buf), ERR_PARSE);
    CHECK_EQ(read_text(text, sizeof text - 1, NULL, false, &a, &s, buf, sizeof buf), ERR_OK);
    arena_fini(&a);
}

static void a_source_covers_what_is_beneath(void)
{
    check_error("name: a\nthreads: 2\nbus: {dram: 1 GB/s}\nsource: book\n", NULL, true, "");
    check_error("name: a\nthreads: 2\nbus: {dram: 1 GB/s, source: book}\n", NULL, true,
                "t.yaml:2:10: threads is '2': it has no source: add 'source: where it is from' "
                "here or in a mapping above");
    check_error("name: a\nthreads: 2\nsource: ''\n", NULL, true,
                "t.yaml:2:10: threads is '2': it has no source: add 'source: where it is from' "
                "here or in a mapping above");
    check_error("name: a\nthreads: 2\nsource: b\nitems: [{name: q, v: 3, source: [1]}]\n", NULL,
                true,
                "t.yaml:4:33: items.0.source is a list of 1: expected a text, where the values are "
                "from");
    check_error("name: a\nthreads: 2\nsource: b\n", NULL, false,
                "t.yaml:3:1: unknown key 'source' ('b') in the file: expected one of name, "
                "threads, params, items, list, bus, time, kind, on, ratio, note, correct or remove "
                "it");

    struct arena a;
    arena_init(&a);
    struct yaml y;
    static const char text[] = "source: top\nbus: {dram: 1 GB/s, source: own}\nx: {y: 2}\n";
    CHECK_EQ(yaml_parse(&y, "t", text, sizeof text - 1, &a, NULL), ERR_OK);
    struct yaml_node *bus = yaml_map(&y, y.root, "bus"), *x = yaml_map(&y, y.root, "x");
    CHECK_STR(yaml_source(yaml_get(&y, bus, "dram")), "own");
    CHECK_STR(yaml_source(yaml_get(&y, x, "y")), "top");
    CHECK(yaml_own_source(&y, x) == NULL);
    arena_fini(&a);
}

/* ---- set ------------------------------------------------------------------------------------ */

#define SET_TEXT                                                                                   \
    OK_TOP "bus: {dram: 1 GB/s}\nlist: [1, 2]\nitems: [{name: q, v: 3}, {name: 'r:1', v: 4}]\n"

static void set_replaces_and_the_reader_checks(void)
{
    static const struct {
        const char *set, *want;
    } t[] = {
        {"device.bus.dram=80", "--set device.bus.dram=80: bus.dram is '80': the unit is missing: "
                               "expected a bandwidth, as in '8.5 GB/s' (B/s, kB/s, MB/s, GB/s, "
                               "MiB/s, GiB/s)"},
        {"device.bus.dram=80 W",
         "--set device.bus.dram=80 W: bus.dram is '80 W': 'W' is no unit here: expected a "
         "bandwidth, as in '8.5 GB/s' (B/s, kB/s, MB/s, GB/s, MiB/s, GiB/s)"},
        {"device.threads=[1]", "--set device.threads=[1]: threads is a list of 1: expected a whole "
                               "number from 1 to 64"},
        {"device.bus.drum=80", "--set device.bus.drum=80: unknown key 'drum' ('80') in bus: "
                               "expected one of dram, source, temperature, correct or remove it; "
                               "did you mean 'dram'?"},
        {"device.buss.dram=80",
         "--set device.buss.dram=80: unknown key 'buss' (a mapping of 1 key) in the file: "
         "expected "
         "one of name, threads, bus, list, items, params, time, kind, on, ratio, note, correct or "
         "remove it; did you mean 'bus'?"},
        {"device.list.2=7", "--set device.list.2=7: there is no '2' in list: expected an index "
                            "from 0 to 1, or an item's name"},
        {"device.items.s.v=7", "--set device.items.s.v=7: there is no 's' in items: expected an "
                               "index from 0 to 1, or an item's name"},
        {"device.name.x=7", "--set device.name.x=7: there is no 'x' in name: it has no keys"},
        {"threads=7", "--set threads=7: expected a path that begins with 'device.'"},
        {"device.=7", "--set device.=7: there is no '' in the file: expected one of name, threads, "
                      "bus, list, items"},
        {"=7", "--set =7: expected PATH=VALUE, as in 'device.bus.dram=80 GB/s'"},
        {"device.threads", "--set device.threads: expected PATH=VALUE, as in 'device.bus.dram=80 "
                           "GB/s'"},
        {"device.threads=", "--set device.threads=: threads is null: expected a whole number from "
                            "1 to 64"},
        {"device.bus={dram: 1 GB/s, dram: 2 GB/s}",
         "--set device.bus={dram: 1 GB/s, dram: 2 GB/s}: duplicate key 'dram': remove one of them"},
        {"device.name=\xff", "--set device.name=\xff: byte 0xff is not UTF-8: save the file as "
                             "UTF-8"},
        {"device.bus={dram: 80}",
         "--set device.bus={dram: 80}: bus.dram is '80': the unit is missing: expected a "
         "bandwidth, as in '8.5 GB/s' (B/s, kB/s, MB/s, GB/s, MiB/s, GiB/s)"},
        {"device.kind=npu", ""},
        {"device.list=[]", ""},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        check_error(SET_TEXT, t[i].set, false, t[i].want);
    /* in a mapping that the file does not have, or has as null */
    static const char reached[] =
        "--set device.bus.dram=x GB/s: bus.dram is 'x GB/s': expected a "
        "bandwidth, as in '8.5 GB/s' (B/s, kB/s, MB/s, GB/s, MiB/s, GiB/s)";
    check_error(OK_TOP, "device.bus.dram=x GB/s", false, reached);
    check_error(OK_TOP "bus: null\n", "device.bus.dram=x GB/s", false, reached);
    check_error(OK_TOP, "device.threads=3", true, ""); /* who sets a value is its source */
}

static void set_reaches_every_place(void)
{
    struct arena a;
    arena_init(&a);
    struct err e = {0};
    struct yaml y;
    struct sample s;
    CHECK_EQ(yaml_parse(&y, "t", SET_TEXT, strlen(SET_TEXT), &a, &e), ERR_OK);
    y.need_source = true;
    yaml_set(&y, NULL, "source=me");
    yaml_set(&y, "device", "device.bus={dram: 7 GB/s, temperature: 1 C}");
    yaml_set(&y, "device", "device.bus.dram=9 GB/s");
    yaml_set(&y, "device", "device.items.r:1.v=40");
    yaml_set(&y, "device", "device.items.0.v=30");
    yaml_set(&y, NULL, "list.1=12");
    yaml_set(&y, NULL, "time=3 us");
    CHECK_EQ(read_sample(&y, &s), ERR_OK);
    CHECK_STR(e.msg, "");
    CHECK_EQ(s.bus, 9000000000);
    CHECK_EQ(s.temperature, 1000);
    CHECK_EQ(s.item[0], 30);
    CHECK_EQ(s.item[1], 40);
    CHECK_EQ(s.list[1], 12);
    CHECK_EQ(s.time, 3000);
    arena_fini(&a);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void quoted_text_reads_back(void)
{
    static const char *const text[] = {
        "",
        "plain",
        "null",
        "a \"b\" \\ c",
        "tab\tnew\nline\r\x01\x7f",
        "- [x]:",
        "caf\xc3\xa9 ",
        "\xc2\x85",
        "\xe2\x80\xa8",
        "\xef\xbb\xbf",
        "  two ",
        "a \xe2\x80\xa8 b",
        "# no",
        "\xf0\x9f\x98\x80 {",
        "\xef\xbf\xbf",
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        struct arena a;
        arena_init(&a);
        struct yaml y;
        char q[200], doc[300];
        snprintf(doc, sizeof doc, "note: %s\n", yaml_quote(text[i], q, sizeof q));
        CHECK_EQ(yaml_parse(&y, "t", doc, strlen(doc), &a, NULL), ERR_OK);
        CHECK_STR(yaml_str_or(&y, y.root, "note", "absent"), text[i]);
        arena_fini(&a);
    }
    char q[16];
    CHECK_STR(yaml_quote("\xff\xfe", q, sizeof q), "\"??\"");
    CHECK_STR(yaml_quote("abc\ndef", q, 8), "\"abc\"");
}

static const struct unit_test tests[] = {
    {"units_convert_exactly", units_convert_exactly},
    {"units_refuse", units_refuse},
    {"reads_every_type", reads_every_type},
    {"defaults_stand_for_absent_and_null", defaults_stand_for_absent_and_null},
    {"refuses_with_position", refuses_with_position},
    {"refuses_what_is_too_large", refuses_what_is_too_large},
    {"refuses_every_truncation_of_a_structure", refuses_every_truncation_of_a_structure},
    {"a_source_covers_what_is_beneath", a_source_covers_what_is_beneath},
    {"set_replaces_and_the_reader_checks", set_replaces_and_the_reader_checks},
    {"set_reaches_every_place", set_reaches_every_place},
    {"quoted_text_reads_back", quoted_text_reads_back},
    {NULL, NULL},
};

UNIT_MAIN("yaml", tests)
