/* Exports of a log made by hand, whose numbers can be checked by hand. */
#include "traces/export.h"

#include "sim/base/json.h"
#include "tests/scratch.h"
#include "tests/unit.h"

#include <stdlib.h>
#include <string.h>

static char path[300];

static const int32_t words[] = {5, 6, 7, 8, 9, 10};

static struct action step(int64_t id, uint8_t role, uint8_t phase, int32_t pos, int32_t n)
{
    return (struct action){.kind = ACT_SUBMIT,
                           .job = {.id = id,
                                   .kind = JOB_FORWARD,
                                   .phase = phase,
                                   .role = role,
                                   .forward = {.b1 = 6,
                                               .width = 8,
                                               .pos = pos,
                                               .n = n,
                                               .token = words,
                                               .slot_in = -1,
                                               .slot_out = -1,
                                               .want = WANT_ARGMAX,
                                               .want_from = n - 1}}};
}

static struct event end(int64_t id, int64_t start_ns, int64_t end_ns, int64_t bytes)
{
    return (struct event){.time_ns = end_ns + 100,
                          .kind = EV_DONE,
                          .done = {.id = id,
                                   .job_kind = JOB_FORWARD,
                                   .start_ns = start_ns,
                                   .end_ns = end_ns,
                                   .sample_ns = 40,
                                   .bytes = bytes,
                                   .n_choice = 1,
                                   .choice = words}};
}

/* Two steps that overlap on two roles: 4,000 bytes in 1,000..3,000 ns are 2,000 MB/s, 1,000 bytes
 * in 2,000..4,000 ns are 500 MB/s. */
enum kind {
    PLAIN,
    SPOILT,       /* job 1 ends twice */
    BACK_TO_BACK, /* job 2 starts when job 1 ends */
    SHARED,       /* both roles on cpu:0 */
    SILENT,       /* no bytes, and job 2 is cancelled unstarted */
    ROUNDED       /* 0.1 and 0.2 MB/s, whose sum less the two is not 0 */
};

static bool write_log(enum kind kind)
{
    struct run_setup s = {.policy = policy_find("speculative"),
                          .n_drafters = 1,
                          .drafter = {{.type = draft_find("lookup")}},
                          .n_vocab = 16,
                          .max_requests = 1,
                          .roles = "target=cpu:0 draft=cpu:1",
                          .device = "a \"quoted\" device"};
    struct exec_caps c = {.blocks = 6, .max_rows = 8, .max_ctx = 32, .max_seqs = 1, .max_jobs = 4};
    struct log_writer *w;
    struct err e = {0};
    scratch_path(path, sizeof path, "export.log");
    param_defaults(s.policy->params, s.policy_param);
    param_defaults(s.drafter[0].type->params, s.drafter[0].param);
    if (kind == SHARED)
        snprintf(s.roles, sizeof s.roles, "draft=cpu:0 target=cpu:0");
    if (!CHECK_EQ(log_create(path, "sim", &s, &c, &w, &e), ERR_OK))
        return false;
    struct event arrive = {
        .time_ns = 500, .kind = EV_ARRIVE, .arrive = {6, words, 2, REQUEST_AFTER_PREVIOUS}};
    struct action one = step(1, 0, PHASE_PREFILL, 0, 6), two = step(2, 1, PHASE_DECODE, 6, 1);
    struct action emit = {.kind = ACT_EMIT, .emit = {0, 2, words}};
    struct action one_token = {.kind = ACT_EMIT, .emit = {0, 1, words}};
    struct action finish = {.kind = ACT_FINISH, .request = 0};
    struct event first = end(1, 1000, 3000, 4000),
                 second = end(kind == SPOILT ? 1 : 2, 2000, 4000, 1000);
    second.done.extrapolated = kind == PLAIN;
    if (kind == BACK_TO_BACK)
        second = end(2, 3000, 5000, 2000);
    if (kind == ROUNDED) {
        first = end(1, 1000, 11000, 1);
        second = end(2, 2000, 12000, 2);
    }
    if (kind == SILENT) {
        first = end(1, 1000, 3000, 0);
        second = end(2, 3050, 3050, 0);
        second.done.status = DONE_CANCELLED;
        second.done.n_choice = 0;
        second.done.choice = NULL;
    }
    struct host_work work = {2, 2}, more = {0, 0};
    log_event(w, &arrive, 450);
    log_host(w, 50, &work);
    log_action(w, &one);
    log_action(w, &two);
    log_event(w, &first, first.time_ns);
    log_host(w, 7, &more);
    log_action(w, &one_token);
    log_event(w, &second, second.time_ns);
    log_host(w, 9, &work);
    log_action(w, &emit);
    log_action(w, &finish);
    return CHECK_EQ(log_close(w, true, &e), ERR_OK);
}

typedef int (*exporter)(struct log_reader *r, FILE *f, struct err *e);

static int text_of_two(struct log_reader *r, FILE *f, struct err *e)
{
    return export_text(r, f, 2, e);
}

/* The export of `path` as a string of the caller's. */
static char *export(exporter to, int *rc, struct err *e)
{
    struct log_reader *r;
    char *text = NULL;
    size_t n;
    *e = (struct err){0};
    FILE *f = open_memstream(&text, &n);
    if (!f || !CHECK_EQ(log_open(path, &r, e), ERR_OK))
        exit(1);
    *rc = to(r, f, e);
    fclose(f);
    log_close_reader(r);
    return text;
}

static void text_has_a_line_per_record(void)
{
    int rc;
    struct err e;
    if (!write_log(PLAIN))
        return;
    char *text = export(text_of_two, &rc, &e);
    CHECK_EQ(rc, ERR_OK);
    CHECK_HAS(text, "tandem-log: 3\nexecutor: sim\n");
    CHECK_HAS(text, "\n\n           500 ARRIVE request=0 arrival=after-previous max_tokens=2 "
                    "prompt[6]=5,6,.. due_ns=450\n"
                    "           500   host host_ns=50 actions=2 submits=2\n"
                    "           550   SUBMIT job=1 FORWARD prefill request=0 role=0 graph=0 "
                    "blocks=0..6 width=8 seq=0 pos=0 n=6 want=argmax from=5 token[6]=5,6,..\n");
    CHECK_HAS(text, "\n          4109   FINISH request=0\n          4109 end records=12 ");
    free(text);
    remove(path);
}

static void csv_has_a_row_per_step(void)
{
    int rc;
    struct err e;
    if (!write_log(PLAIN))
        return;
    char *text = export(export_csv, &rc, &e);
    CHECK_EQ(rc, ERR_OK);
    CHECK_STR(text, "request,job,phase,role,graph,b0,b1,width,n,pos,start_ns,end_ns,sample_ns,"
                    "status,bytes,extrapolated\n"
                    "0,1,prefill,0,0,0,6,8,6,0,1000,3000,40,ok,4000,0\n"
                    "0,2,decode,1,0,0,6,8,1,6,2000,4000,40,ok,1000,1\n");
    free(text);
    remove(path);
}

static void perfetto_shows_processors_requests_and_the_bus(void)
{
    int rc;
    struct err e;
    if (!write_log(PLAIN))
        return;
    char *text = export(export_perfetto, &rc, &e);
    CHECK_EQ(rc, ERR_OK);
    static const char *const parts[] = {
        "\"device\": \"a \\\"quoted\\\" device\"",
        "{\"ph\": \"X\", \"name\": \"target FORWARD prefill w8\", \"pid\": 1, \"tid\": 0, \"ts\": "
        "1, "
        "\"dur\": 2, ",
        "{\"ph\": \"X\", \"name\": \"draft FORWARD decode w8\", \"pid\": 1, \"tid\": 8, \"ts\": 2, "
        "\"dur\": 2, ",
        "\"name\": \"thread_name\", \"pid\": 1, \"tid\": 0, \"args\": {\"name\": \"cpu:0\"}",
        "\"name\": \"thread_name\", \"pid\": 1, \"tid\": 8, \"args\": {\"name\": \"cpu:1\"}",
        "\"name\": \"request 0\", \"pid\": 2, \"tid\": 0, \"ts\": 0.5, \"dur\": 3.609,",
        "\"name\": \"wait\", \"pid\": 2, \"tid\": 0, \"ts\": 0.5, \"dur\": 0.5,",
        "\"name\": \"prefill\", \"pid\": 2, \"tid\": 0, \"ts\": 1, \"dur\": 2.107,",
        "{\"ph\": \"i\", \"name\": \"first token\", \"pid\": 2, \"tid\": 0, \"s\": \"t\", \"ts\": "
        "3.107, \"args\": {\"ttft_us\": 2.607}}",
        "\"name\": \"decode +2\", \"pid\": 2, \"tid\": 0, \"ts\": 3.107, \"dur\": 1.002,",
        "\"ts\": 1, \"args\": {\"MB/s\": 2000}",
        "\"ts\": 2, \"args\": {\"MB/s\": 2500}",
        "\"ts\": 3, \"args\": {\"MB/s\": 500}",
        "\"ts\": 4, \"args\": {\"MB/s\": 0}",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        CHECK_HAS(text, parts[i]);
    struct json_reader r;
    struct json_token t;
    json_init(&r, "trace", text, strlen(text), 1);
    CHECK_EQ(json_skip(&r, &t, &e), ERR_OK);
    CHECK_EQ(json_next(&r, &t, &e), ERR_OK);
    CHECK_EQ(t.type, JSON_END);
    json_fini(&r);
    char *again = export(export_perfetto, &rc, &e);
    CHECK_STR(again, text);
    free(again);
    free(text);
    remove(path);
}

static void overlapping_jobs_take_another_lane(void)
{
    int rc;
    struct err e;
    if (!write_log(SHARED))
        return;
    char *text = export(export_perfetto, &rc, &e);
    CHECK_EQ(rc, ERR_OK);
    CHECK_HAS(text, "\"name\": \"target FORWARD prefill w8\", \"pid\": 1, \"tid\": 0, ");
    CHECK_HAS(text, "\"name\": \"draft FORWARD decode w8\", \"pid\": 1, \"tid\": 1, ");
    CHECK_HAS(text, "\"tid\": 1, \"args\": {\"name\": \"cpu:0, at the same time (2)\"}");
    free(text);
    remove(path);
}

static void what_is_not_known_is_said(void)
{
    int rc;
    struct err e;
    if (!write_log(SILENT))
        return;
    char *text = export(export_perfetto, &rc, &e);
    CHECK_EQ(rc, ERR_OK);
    CHECK_HAS(text, "\"name\": \"not known: no job says how many bytes it moved\", \"pid\": 3, "
                    "\"tid\": 0, \"ts\": 0, \"dur\": 3.05,");
    CHECK_HAS(text, "{\"ph\": \"i\", \"name\": \"cancelled unstarted\", \"pid\": 1, \"tid\": 8, "
                    "\"s\": \"t\", \"ts\": 3.05, \"args\": {\"name\": \"draft FORWARD decode w8\"");
    free(text);
    remove(path);
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static void the_bus_is_a_sum_of_steps(void)
{
    int rc;
    struct err e;
    if (!write_log(BACK_TO_BACK))
        return;
    char *text = export(export_perfetto, &rc, &e);
    CHECK_EQ(count(text, "MB/s"), 3);
    CHECK_HAS(text, "\"ts\": 3, \"args\": {\"MB/s\": 1000}");
    free(text);
    if (!write_log(ROUNDED))
        return;
    text = export(export_perfetto, &rc, &e);
    CHECK_HAS(text, "\"ts\": 12, \"args\": {\"MB/s\": 0}");
    free(text);
    remove(path);
}

/* A second opinion on the JSON. */
static void another_program_reads_the_trace(void)
{
    char json[320], command[700];
    int rc;
    struct err e;
    if (system("python3 -c 'import json' >/dev/null 2>&1")) {
        unit_skip("no python3 here");
        return;
    }
    if (!write_log(PLAIN))
        return;
    char *text = export(export_perfetto, &rc, &e);
    FILE *f = fopen(scratch_path(json, sizeof json, "trace.json"), "w");
    if (CHECK(f != NULL)) {
        fputs(text, f);
        fclose(f);
        snprintf(command, sizeof command, "python3 -m json.tool '%s' >/dev/null", json);
        CHECK_EQ(system(command), 0);
        remove(json);
    }
    free(text);
    remove(path);
}

static void a_log_that_makes_no_sense_is_refused(void)
{
    int rc;
    struct err e;
    if (!write_log(SPOILT))
        return;
    free(export(export_csv, &rc, &e));
    CHECK_EQ(rc, ERR_CORRUPT);
    CHECK_HAS(e.msg, "job 1 ends, which is not in flight");
    free(export(export_perfetto, &rc, &e));
    CHECK_EQ(rc, ERR_CORRUPT);
    free(export(text_of_two, &rc, &e));
    CHECK_EQ(rc, ERR_OK);
    remove(path);
}

static void a_full_device_is_an_error(void)
{
    struct log_reader *r;
    struct err e = {0};
    FILE *f = fopen("/dev/full", "w");
    if (!f) {
        unit_skip("no /dev/full here");
        return;
    }
    if (write_log(PLAIN) && CHECK_EQ(log_open(path, &r, NULL), ERR_OK)) {
        CHECK_EQ(export_csv(r, f, &e), ERR_IO);
        log_close_reader(r);
    }
    fclose(f);
    remove(path);
}

static const struct unit_test tests[] = {
    {"text_has_a_line_per_record", text_has_a_line_per_record},
    {"csv_has_a_row_per_step", csv_has_a_row_per_step},
    {"perfetto_shows_processors_requests_and_the_bus",
     perfetto_shows_processors_requests_and_the_bus},
    {"overlapping_jobs_take_another_lane", overlapping_jobs_take_another_lane},
    {"what_is_not_known_is_said", what_is_not_known_is_said},
    {"the_bus_is_a_sum_of_steps", the_bus_is_a_sum_of_steps},
    {"another_program_reads_the_trace", another_program_reads_the_trace},
    {"a_log_that_makes_no_sense_is_refused", a_log_that_makes_no_sense_is_refused},
    {"a_full_device_is_an_error", a_full_device_is_an_error},
    {NULL, NULL},
};

UNIT_MAIN("export", tests)
