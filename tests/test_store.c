/* The store: what is written is there, whole or not at all, whatever happens. */
#include "experiments/store.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/base/io.h"
#include "tests/scratch.h"
#include "tests/unit.h"

/* ---- a report of two requests --------------------------------------------------------------- */

static int32_t tokens[] = {7, 8, 9, 10};
static struct world_name names[] = {{"one", "chat"}, {"two", "it's; a \"task\""}};
static int32_t prompts[] = {11, 12};
static struct experiment_policy policy;
static struct experiment experiment;

static void make(struct run_report *report, struct run_outcome *o, struct request_result *r)
{
    policy = (struct experiment_policy){.label = "mine", .type = policy_find("speculative")};
    policy.n_drafters = 1;
    policy.drafter[0].type = draft_find("lookup");
    param_defaults(policy.type->params, policy.param);
    param_defaults(policy.drafter[0].type->params, policy.drafter[0].param);
    experiment = (struct experiment){
        .file = "x.yaml", .name = "test", .n_policies = 1, .policy = &policy, .n_seeds = 1};
    experiment.seed[0] = 5;
    *report = (struct run_report){.x = &experiment,
                                  .n_requests = 2,
                                  .name = names,
                                  .n_prompt = prompts,
                                  .device = "dev",
                                  .model = "mod"};
    r[0] = (struct request_result){.arrive_ns = 100,
                                   .first_ns = 300,
                                   .last_ns = 900,
                                   .finish_ns = 950,
                                   .n_output = 4,
                                   .output = tokens,
                                   .n_drafted = 8,
                                   .n_accepted = 2,
                                   .n_verify = 2,
                                   .part_ns = {1, 2, 3, 4, 5, 6},
                                   .finished = true};
    r[1] = (struct request_result){.arrive_ns = 950,
                                   .first_ns = -1,
                                   .last_ns = -1,
                                   .finish_ns = 980,
                                   .output = tokens,
                                   .cancelled = true};
    *o = (struct run_outcome){.policy = &policy,
                              .executor = "sim",
                              .seed = 5,
                              .log = "a.log",
                              .n_jobs = 20,
                              .n_extrapolated = 3,
                              .peak_resident_bytes = -1};
    o->energy = (struct energy){.mj = 2, .pj = 5, .known = true};
    o->n_busy = 1;
    o->busy[0] = (struct run_busy){.name = "cpu:0", .busy_ns = 777};
    o->result = (struct run_result){
        .end_ns = 980, .n_actions = 9, .actions_hash = 0xabc, .n_requests = 2, .request = r};
}

static const char *fresh(char *path, size_t size)
{
    char side[300];
    scratch_path(path, size, "store.sqlite");
    unlink(path);
    snprintf(side, sizeof side, "%s-wal", path);
    unlink(side);
    snprintf(side, sizeof side, "%s-shm", path);
    unlink(side);
    return path;
}

static int64_t get(struct store *s, const char *sql)
{
    int64_t v = -99;
    struct err e = {0};
    CHECK_EQ(store_get(s, &e, -98, &v, sql, ""), ERR_OK);
    CHECK_STR(e.msg, "");
    return v;
}

static int64_t begin(struct store *s)
{
    struct err e = {0};
    int64_t id = 0;
    struct store_experiment x = {"test", "config: text", 5, "run"};
    CHECK_EQ(store_begin_experiment(s, &x, &id, &e), ERR_OK);
    return id;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void round_trip(void)
{
    char path[256];
    struct store *s;
    struct err e = {0};
    struct run_report report;
    struct run_outcome o;
    struct request_result r[2];
    int64_t run = 0;
    make(&report, &o, r);
    if (!CHECK_EQ(store_open(fresh(path, sizeof path), &s, &e), ERR_OK))
        return;
    int64_t id = begin(s);
    CHECK_EQ(store_add_run(s, id, &report, &o, &run, &e), ERR_OK);
    CHECK_STR(e.msg, "");
    store_close(s);
    CHECK_EQ(store_open(path, &s, &e), ERR_OK);
    CHECK_EQ(get(s, "PRAGMA user_version"), STORE_VERSION);
    CHECK_EQ(get(s, "PRAGMA foreign_keys"), 1);
    CHECK_EQ(get(s, "SELECT COUNT(*) FROM pragma_table_list WHERE schema='main' AND type='table'"
                    " AND name NOT LIKE 'sqlite%' AND NOT strict"),
             0);
    CHECK_EQ(get(s, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
    CHECK_EQ(get(s, "SELECT seed = 5 AND config = 'config: text' AND command = 'run' AND"
                    " length(created) = 20 AND source_commit <> '' FROM experiment"),
             1);
    CHECK_EQ(get(s, "SELECT end_ns = 980 AND actions_hash = '0000000000000abc' AND error IS NULL"
                    " AND energy_pj = 2000000005 AND extrapolated = 3 AND log = 'a.log' AND"
                    " peak_resident_bytes IS NULL FROM run"),
             1);
    CHECK_EQ(get(s, "SELECT busy_ns FROM busy WHERE processor = 'cpu:0'"), 777);
    CHECK_EQ(get(s, "SELECT ttft_ns = 200 AND e2e_ns = 800 AND tpot_ns = 200.0 AND"
                    " tokens_per_verify = 1.5 AND draft_efficiency = 0.25 AND prefill_ns = 1 AND"
                    " step_ns = 2 AND sample_ns = 3 AND draft_ns = 4 AND host_ns = 5 AND"
                    " other_ns = 6 AND prompt_tokens = 11 FROM v_request WHERE idx = 0"),
             1);
    CHECK_EQ(get(s, "SELECT ttft_ns IS NULL AND e2e_ns IS NULL AND tpot_ns IS NULL AND"
                    " tokens_per_verify IS NULL AND draft_efficiency IS NULL AND cancelled = 1 AND"
                    " task = 'it''s; a \"task\"' FROM v_request WHERE idx = 1"),
             1);
    CHECK_EQ(get(s, "SELECT runs = 1 AND requests = 2 AND output_tokens = 4 AND e2e_ns_sum = 800"
                    " AND tokens_per_verify = 1.5 AND draft_efficiency = 0.25 FROM v_policy"),
             1);
    CHECK_EQ(get(s, "SELECT run_jobs = jobs AND run_extrapolated = 3 FROM v_request JOIN run ON"
                    " run.id = run_id WHERE idx = 1"),
             1);
    CHECK_EQ(store_add_run(s, id, &report, &o, &run, &e), ERR_OK);
    CHECK_EQ(get(s, "SELECT jobs = 2 * (SELECT MAX(run.jobs) FROM run) AND extrapolated = 6"
                    " FROM v_policy"),
             1);
    store_close(s);
    fresh(path, sizeof path);
}

/* A file of the version before is brought up: its views get their new columns. */
static void older_file(void)
{
    char path[256];
    struct store *s;
    struct err e = {0};
    CHECK_EQ(store_open(fresh(path, sizeof path), &s, &e), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "DROP VIEW v_policy", ""), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "DROP VIEW v_request", ""), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "CREATE VIEW v_request AS SELECT 1 AS one", ""), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "CREATE VIEW v_policy AS SELECT 1 AS one", ""), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "PRAGMA user_version = 1", ""), ERR_OK);
    store_close(s);
    CHECK_EQ(store_open(path, &s, &e), ERR_OK);
    CHECK_EQ(get(s, "PRAGMA user_version"), STORE_VERSION);
    CHECK_EQ(get(s, "SELECT COUNT(extrapolated) + COUNT(jobs) FROM v_policy"), 0);
    store_close(s);
    fresh(path, sizeof path);
}

/* A failed run has its error and nothing else, and is in no view. */
static void failed_run(void)
{
    char path[256];
    struct store *s;
    struct err e = {0};
    struct run_report report;
    struct run_outcome o;
    struct request_result r[2];
    make(&report, &o, r);
    o.code = ERR_STALLED;
    snprintf(o.why, sizeof o.why, "nobody came");
    CHECK_EQ(store_open(fresh(path, sizeof path), &s, &e), ERR_OK);
    CHECK_EQ(store_add_run(s, begin(s), &report, &o, NULL, &e), ERR_OK);
    CHECK_EQ(get(s, "SELECT error = 'nobody came' AND end_ns IS NULL AND jobs IS NULL AND log IS"
                    " NULL FROM run"),
             1);
    CHECK_EQ(get(s, "SELECT COUNT(*) FROM request"), 0);
    CHECK_EQ(get(s, "SELECT COUNT(*) FROM v_policy"), 0);
    store_close(s);
    fresh(path, sizeof path);
}

/* A run whose second request cannot be written leaves no first request and no run. */
static void all_or_nothing(void)
{
    char path[256];
    struct store *s;
    struct err e = {0};
    struct run_report report;
    struct run_outcome o;
    struct request_result r[2];
    make(&report, &o, r);
    CHECK_EQ(store_open(fresh(path, sizeof path), &s, &e), ERR_OK);
    int64_t id = begin(s);
    struct world_name broken[] = {{"one", "chat"}, {NULL, "chat"}};
    report.name = broken;
    CHECK_EQ(store_add_run(s, id, &report, &o, NULL, &e), ERR_IO);
    CHECK_HAS(e.msg, "NOT NULL");
    CHECK_STR(e.file, path);
    CHECK_EQ(get(s, "SELECT (SELECT COUNT(*) FROM run) + (SELECT COUNT(*) FROM request) +"
                    " (SELECT COUNT(*) FROM busy)"),
             0);
    report.name = names;
    e = (struct err){0};
    CHECK_EQ(store_add_run(s, id + 1, &report, &o, NULL, &e), ERR_IO);
    CHECK_HAS(e.msg, "FOREIGN KEY");
    CHECK_EQ(get(s, "SELECT COUNT(*) FROM run"), 0);
    /* within the caller's transaction nothing is committed behind its back */
    e = (struct err){0};
    CHECK_EQ(store_exec(s, &e, "BEGIN", ""), ERR_OK);
    CHECK_EQ(store_add_run(s, id, &report, &o, NULL, &e), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "ROLLBACK", ""), ERR_OK);
    CHECK_EQ(get(s, "SELECT COUNT(*) FROM run"), 0);
    store_close(s);
    fresh(path, sizeof path);
}

/* SIGKILL between two rows of a run: the runs before it stay, it is gone. */
static void killed(void)
{
    char path[256];
    struct store *s;
    struct err e = {0};
    struct run_report report;
    struct run_outcome o;
    struct request_result r[2];
    make(&report, &o, r);
    fresh(path, sizeof path);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        int64_t id = 0;
        struct store_experiment x = {"test", "c", 5, "run"};
        if (store_open(path, &s, &e) || store_begin_experiment(s, &x, &id, &e) ||
            store_add_run(s, id, &report, &o, NULL, &e) || store_exec(s, &e, "BEGIN", "") ||
            store_add_run(s, id, &report, &o, NULL, &e))
            _exit(1);
        raise(SIGKILL);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK_EQ(store_open(path, &s, &e), ERR_OK);
    CHECK_EQ(get(s, "SELECT COUNT(*) FROM run"), 1);
    CHECK_EQ(get(s, "SELECT COUNT(*) FROM request"), 2);
    CHECK_EQ(get(s, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
    store_close(s);
    fresh(path, sizeof path);
}

static void foreign_files(void)
{
    char path[256];
    struct store *s;
    struct err e = {0};
    sqlite3 *db;
    static const char text[] = "this is no database, and is longer than a header of one: "
                               "0123456789012345678901234567890123456789012345678901234567890123";
    CHECK_EQ(io_write_file(fresh(path, sizeof path), text, sizeof text, &e), ERR_OK);
    CHECK_EQ(store_open(path, &s, &e), ERR_CORRUPT);
    CHECK_HAS(e.msg, "not a database; name another file");
    CHECK_STR(e.file, path);
    e = (struct err){0};
    CHECK_EQ(sqlite3_open(fresh(path, sizeof path), &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, "CREATE TABLE mine(x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    CHECK_EQ(store_open(path, &s, &e), ERR_CORRUPT);
    CHECK_HAS(e.msg, "not one of Tandem's, and one with runs");
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, "PRAGMA application_id = 0x546e6456", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    e = (struct err){0};
    CHECK_EQ(store_open(path, &s, &e), ERR_MISMATCH);
    CHECK_HAS(e.msg, "holds a validation (tandem validate --store), and one with runs");
    e = (struct err){0};
    CHECK_EQ(store_open(fresh(path, sizeof path), &s, &e), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "PRAGMA user_version = 99", ""), ERR_OK);
    store_close(s);
    CHECK_EQ(store_open(path, &s, &e), ERR_UNSUPPORTED);
    CHECK_HAS(e.msg, "version 99");
    e = (struct err){0};
    CHECK_EQ(store_open("/no/such/folder/x.sqlite", &s, &e), ERR_IO);
    CHECK_HAS(e.msg, "cannot create: No such file or directory");
    fresh(path, sizeof path);
}

/* What can be done depends on what failed. */
static void a_failure_has_its_remedy(void)
{
    static const char big[] = "INSERT INTO experiment SELECT NULL, 'n', 'c', hex(zeroblob(200000)),"
                              " 1, 's', 'h', 'w'";
    static const char small[] = "INSERT INTO experiment VALUES (NULL, 'n', 'c', '', 1, 's', 'h',"
                                " 'w')";
    char path[256], side[300];
    struct store *s, *other;
    struct rlimit was, least;
    struct err e = {0};
    CHECK_EQ(store_open(fresh(path, sizeof path), &s, &e), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "PRAGMA max_page_count = 2", ""), ERR_OK);
    CHECK_EQ(store_exec(s, &e, big, ""), ERR_IO);
    CHECK_HAS(e.msg, "is full; make room on the disk");
    CHECK_EQ(store_exec(s, NULL, "PRAGMA max_page_count = 100000", ""), ERR_OK);

    e = (struct err){0};
    getrlimit(RLIMIT_FSIZE, &was);
    least = (struct rlimit){100000, was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &least);
    int rc = store_exec(s, &e, big, "");
    setrlimit(RLIMIT_FSIZE, &was);
    signal(SIGXFSZ, SIG_DFL);
    CHECK_EQ(rc, ERR_IO);
    CHECK_HAS(e.msg, "disk I/O error");
    CHECK_HAS(e.msg, "make room on the disk");

    e = (struct err){0};
    CHECK_EQ(store_exec(s, &e, "PRAGMA query_only = 1", ""), ERR_OK);
    CHECK_EQ(store_exec(s, &e, small, ""), ERR_IO);
    CHECK_HAS(e.msg, "make the file and its folder writable");
    CHECK_EQ(store_exec(s, NULL, "PRAGMA query_only = 0", ""), ERR_OK);

    e = (struct err){0};
    CHECK_EQ(store_open(path, &other, &e), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "PRAGMA busy_timeout = 0", ""), ERR_OK);
    CHECK_EQ(store_exec(other, &e, "BEGIN IMMEDIATE", ""), ERR_OK);
    CHECK_EQ(store_exec(s, &e, small, ""), ERR_IO);
    CHECK_HAS(e.msg, "locked; another process writes into it");
    store_close(other);
    CHECK_EQ(store_exec(s, NULL, small, ""), ERR_OK);
    store_close(s);

    e = (struct err){0};
    int fd = open(path, O_WRONLY);
    for (off_t page = 4096; page < 8 * 4096; page += 4096) /* behind the schema */
        CHECK_EQ(pwrite(fd, "no page of a tree", 17, page), 17);
    close(fd);
    CHECK_EQ(store_open(path, &s, &e), ERR_OK);
    CHECK_EQ(store_exec(s, &e, small, ""), ERR_CORRUPT);
    CHECK_HAS(e.msg, "malformed; name another file");
    store_close(s);

    static const char *const in_the_way[][2] = {
        {"-journal", "Is a directory; name a file in a folder"},
        {"-wal", "Is a directory; name a file elsewhere"}};
    for (size_t i = 0; i < sizeof in_the_way / sizeof *in_the_way; i++) {
        e = (struct err){0};
        snprintf(side, sizeof side, "%s%s", fresh(path, sizeof path), in_the_way[i][0]);
        CHECK_EQ(mkdir(side, 0700), 0);
        CHECK_EQ(store_open(path, &s, &e), ERR_IO);
        CHECK_HAS(e.msg, in_the_way[i][1]);
        CHECK_EQ(rmdir(side), 0);
    }
    fresh(path, sizeof path);
}

/* A file of an empty store is made once, whoever comes first. */
static void two_at_once(void)
{
    char path[256];
    struct store *a, *b;
    struct err e = {0};
    CHECK_EQ(store_open(fresh(path, sizeof path), &a, &e), ERR_OK);
    CHECK_EQ(store_open(path, &b, &e), ERR_OK);
    begin(a);
    begin(b);
    CHECK_EQ(get(a, "SELECT COUNT(*) FROM experiment"), 2);
    store_close(a);
    store_close(b);
    fresh(path, sizeof path);
}

static void values(void)
{
    char path[256];
    struct store *s;
    struct err e = {0};
    int64_t v = 0;
    CHECK_EQ(store_open(fresh(path, sizeof path), &s, &e), ERR_OK);
    CHECK_EQ(store_exec(s, &e, "CREATE TABLE t(i INTEGER, d REAL, t TEXT, n TEXT) STRICT", ""),
             ERR_OK);
    CHECK_EQ(store_exec(s, &e, "INSERT INTO t VALUES (?, ?, ?, ?)", "idtn", INT64_MIN, 0.5, "x'"),
             ERR_OK);
    CHECK_EQ(
        store_exec(s, &e, "INSERT INTO t VALUES (?, ?, ?, ?)", "idtt", (int64_t)3, 2.5, "", NULL),
        ERR_OK);
    CHECK_EQ(store_last_id(s), 2);
    CHECK_EQ(store_get(s, &e, 7, &v, "SELECT i FROM t WHERE t = ? AND d = ?", "td", "x'", 0.5),
             ERR_OK);
    CHECK_EQ(v, INT64_MIN);
    CHECK_EQ(store_get(s, &e, 7, &v, "SELECT i FROM t WHERE t = ?", "t", "none"), ERR_OK);
    CHECK_EQ(v, 7);
    CHECK_EQ(get(s, "SELECT COUNT(*) FROM t WHERE n IS NULL"), 2);
    CHECK_EQ(store_exec(s, &e, "SELECT nonsense", ""), ERR_IO);
    CHECK_HAS(e.msg, "nonsense");
    store_close(s);
    fresh(path, sizeof path);
}

static const struct unit_test tests[] = {{"round_trip", round_trip},
                                         {"older_file", older_file},
                                         {"failed_run", failed_run},
                                         {"all_or_nothing", all_or_nothing},
                                         {"killed", killed},
                                         {"foreign_files", foreign_files},
                                         {"a_failure_has_its_remedy", a_failure_has_its_remedy},
                                         {"two_at_once", two_at_once},
                                         {"values", values},
                                         {NULL, NULL}};

UNIT_MAIN("store", tests)
