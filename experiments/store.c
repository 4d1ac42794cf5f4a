#include "experiments/store.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "experiments/command.h"
#include "sim/base/hash.h"
#include "sim/exec/metrics.h"

struct store {
    sqlite3 *db;
    char *path;
    bool full; /* the disk, or what the file may grow to */
};

/* Each brings a file from the version that is its index to the next. Never edited, only appended
 * to. Times are nanoseconds, NULL is "not known". */
static const char *const migration[STORE_VERSION] = {
    "CREATE TABLE experiment ("
    "  id INTEGER PRIMARY KEY,"
    "  name TEXT NOT NULL,"
    "  command TEXT NOT NULL,"
    "  config TEXT NOT NULL,"
    "  seed INTEGER NOT NULL,"
    "  source_commit TEXT NOT NULL,"
    "  host TEXT NOT NULL,"
    "  created TEXT NOT NULL"
    ") STRICT;"
    "CREATE TABLE run ("
    "  id INTEGER PRIMARY KEY,"
    "  experiment INTEGER NOT NULL REFERENCES experiment(id) ON DELETE CASCADE,"
    "  label TEXT NOT NULL,"
    "  policy TEXT NOT NULL,"
    "  params TEXT NOT NULL,"
    "  drafters TEXT NOT NULL,"
    "  executor TEXT NOT NULL,"
    "  device TEXT NOT NULL,"
    "  model TEXT NOT NULL,"
    "  numerics_id TEXT NOT NULL,"
    "  seed INTEGER NOT NULL,"
    "  repetition INTEGER NOT NULL,"
    "  log TEXT,"
    "  end_ns INTEGER,"
    "  actions INTEGER,"
    "  actions_hash TEXT,"
    "  jobs INTEGER,"
    "  extrapolated INTEGER,"
    "  energy_pj INTEGER,"
    "  peak_resident_bytes INTEGER,"
    "  error TEXT,"
    "  CHECK ((error IS NULL) = (end_ns IS NOT NULL))"
    ") STRICT;"
    "CREATE INDEX run_experiment ON run(experiment);"
    "CREATE TABLE busy ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  processor TEXT NOT NULL,"
    "  busy_ns INTEGER NOT NULL,"
    "  PRIMARY KEY (run, processor)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE request ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  idx INTEGER NOT NULL,"
    "  id TEXT NOT NULL,"
    "  task TEXT NOT NULL,"
    "  prompt_tokens INTEGER NOT NULL,"
    "  output_tokens INTEGER NOT NULL,"
    "  arrive_ns INTEGER NOT NULL,"
    "  ttft_ns INTEGER,"
    "  e2e_ns INTEGER,"
    "  finish_ns INTEGER NOT NULL,"
    "  verify_steps INTEGER NOT NULL,"
    "  drafted INTEGER NOT NULL,"
    "  accepted INTEGER NOT NULL,"
    "  prefill_ns INTEGER NOT NULL,"
    "  step_ns INTEGER NOT NULL,"
    "  sample_ns INTEGER NOT NULL,"
    "  draft_ns INTEGER NOT NULL,"
    "  host_ns INTEGER NOT NULL,"
    "  other_ns INTEGER NOT NULL,"
    "  unknown_choices INTEGER NOT NULL,"
    "  distinct_4grams REAL NOT NULL,"
    "  cancelled INTEGER NOT NULL,"
    "  output_hash TEXT NOT NULL,"
    "  PRIMARY KEY (run, idx)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE VIEW v_request AS SELECT"
    "  e.id AS experiment_id, e.name AS experiment, r.id AS run_id, r.label, r.policy, r.params,"
    "  r.drafters, r.executor, r.device, r.model, r.seed, r.repetition,"
    "  q.idx, q.id AS request, q.task, q.prompt_tokens, q.output_tokens, q.arrive_ns, q.ttft_ns,"
    "  q.e2e_ns,"
    "  CASE WHEN q.output_tokens > 1"
    "    THEN (q.e2e_ns - q.ttft_ns) * 1.0 / (q.output_tokens - 1) END AS tpot_ns,"
    "  CASE WHEN q.output_tokens > 0 AND q.verify_steps > 0"
    "    THEN (q.output_tokens - 1) * 1.0 / q.verify_steps END AS tokens_per_verify,"
    "  CASE WHEN q.drafted > 0 THEN q.accepted * 1.0 / q.drafted END AS draft_efficiency,"
    "  q.verify_steps, q.drafted, q.accepted, q.prefill_ns, q.step_ns, q.sample_ns, q.draft_ns,"
    "  q.host_ns, q.other_ns, q.unknown_choices, q.distinct_4grams, q.cancelled, q.output_hash"
    " FROM request q JOIN run r ON r.id = q.run JOIN experiment e ON e.id = r.experiment;"
    "CREATE VIEW v_policy AS SELECT"
    "  experiment_id, experiment, label, policy, params, drafters, executor, device, model,"
    "  COUNT(DISTINCT run_id) AS runs, COUNT(*) AS requests,"
    "  SUM(output_tokens) AS output_tokens,"
    "  AVG(ttft_ns) AS ttft_ns_mean, AVG(tpot_ns) AS tpot_ns_mean, AVG(e2e_ns) AS e2e_ns_mean,"
    "  SUM(e2e_ns) AS e2e_ns_sum,"
    "  SUM(CASE WHEN output_tokens > 0 THEN output_tokens - 1 ELSE 0 END) * 1.0"
    "    / NULLIF(SUM(verify_steps), 0) AS tokens_per_verify,"
    "  SUM(accepted) * 1.0 / NULLIF(SUM(drafted), 0) AS draft_efficiency,"
    "  SUM(unknown_choices) AS unknown_choices"
    " FROM v_request"
    " GROUP BY experiment_id, label, executor;",
    "DROP VIEW v_policy;"
    "DROP VIEW v_request;"
    "CREATE VIEW v_request AS SELECT"
    "  e.id AS experiment_id, e.name AS experiment, r.id AS run_id, r.label, r.policy, r.params,"
    "  r.drafters, r.executor, r.device, r.model, r.seed, r.repetition,"
    "  q.idx, q.id AS request, q.task, q.prompt_tokens, q.output_tokens, q.arrive_ns, q.ttft_ns,"
    "  q.e2e_ns,"
    "  CASE WHEN q.output_tokens > 1"
    "    THEN (q.e2e_ns - q.ttft_ns) * 1.0 / (q.output_tokens - 1) END AS tpot_ns,"
    "  CASE WHEN q.output_tokens > 0 AND q.verify_steps > 0"
    "    THEN (q.output_tokens - 1) * 1.0 / q.verify_steps END AS tokens_per_verify,"
    "  CASE WHEN q.drafted > 0 THEN q.accepted * 1.0 / q.drafted END AS draft_efficiency,"
    "  q.verify_steps, q.drafted, q.accepted, q.prefill_ns, q.step_ns, q.sample_ns, q.draft_ns,"
    "  q.host_ns, q.other_ns, q.unknown_choices, q.distinct_4grams, q.cancelled, q.output_hash,"
    "  r.jobs AS run_jobs, r.extrapolated AS run_extrapolated"
    " FROM request q JOIN run r ON r.id = q.run JOIN experiment e ON e.id = r.experiment;"
    "CREATE VIEW v_policy AS SELECT"
    "  experiment_id, experiment, label, policy, params, drafters, executor, device, model,"
    "  COUNT(DISTINCT run_id) AS runs, COUNT(*) AS requests,"
    "  SUM(output_tokens) AS output_tokens,"
    "  AVG(ttft_ns) AS ttft_ns_mean, AVG(tpot_ns) AS tpot_ns_mean, AVG(e2e_ns) AS e2e_ns_mean,"
    "  SUM(e2e_ns) AS e2e_ns_sum,"
    "  SUM(CASE WHEN output_tokens > 0 THEN output_tokens - 1 ELSE 0 END) * 1.0"
    "    / NULLIF(SUM(verify_steps), 0) AS tokens_per_verify,"
    "  SUM(accepted) * 1.0 / NULLIF(SUM(drafted), 0) AS draft_efficiency,"
    "  SUM(unknown_choices) AS unknown_choices,"
    /* of its runs, of which every request has a row; idx is each request's own */
    "  SUM(run_jobs) FILTER (WHERE idx = 0) AS jobs,"
    "  SUM(run_extrapolated) FILTER (WHERE idx = 0) AS extrapolated"
    " FROM v_request"
    " GROUP BY experiment_id, label, executor;"};

/* ---- statements ----------------------------------------------------------------------------- */

int store_failed(struct sqlite3 *db, const char *path, const char *what, struct err *e)
{
    static const char room[] = "make room on the disk, or name a file on another";
    static const struct {
        int rc, code;
        const char *remedy;
    } known[] = {
        {SQLITE_NOMEM, ERR_NOMEM, NULL},
        {SQLITE_NOTADB, ERR_CORRUPT, "name another file"},
        {SQLITE_CORRUPT, ERR_CORRUPT, "name another file"},
        {SQLITE_CANTOPEN, ERR_IO, "name a file in a folder that is there and can be written"},
        {SQLITE_READONLY, ERR_IO, "make the file and its folder writable, or name another file"},
        {SQLITE_FULL, ERR_IO, room},
        {SQLITE_IOERR_WRITE, ERR_IO, room},
        {SQLITE_IOERR_FSYNC, ERR_IO, room},
        {SQLITE_IOERR_SHMSIZE, ERR_IO, room},
        {SQLITE_IOERR_SHMMAP, ERR_IO, room},
        {SQLITE_IOERR, ERR_IO, "name a file elsewhere"},
        {SQLITE_BUSY, ERR_IO, "another process writes into it: wait for its end"},
    };
    int primary = sqlite3_errcode(db) & 0xff, extended = sqlite3_extended_errcode(db);
    bool of_system = primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN;
    int number = of_system ? sqlite3_system_errno(db) : 0;
    size_t i = 0, n = sizeof known / sizeof *known;
    while (i < n && known[i].rc != extended && known[i].rc != primary)
        i++;
    err_at(e, i < n ? known[i].code : ERR_IO, path, 0, 0, "%s%s%s%s%s", what ? what : "",
           what ? ": " : "", sqlite3_errmsg(db), number ? ": " : "",
           number ? strerror(number) : "");
    if (i < n && known[i].remedy)
        err_more(e, "%s", known[i].remedy);
    return i < n ? known[i].code : ERR_IO;
}

static int fail(struct store *s, struct err *e, const char *what)
{
    int rc = sqlite3_errcode(s->db);
    s->full = s->full || rc == SQLITE_FULL || rc == SQLITE_IOERR;
    return store_failed(s->db, s->path, what, e);
}

static int bind_all(sqlite3_stmt *q, const char *types, va_list ap)
{
    int rc = SQLITE_OK;
    assert(sqlite3_bind_parameter_count(q) == (int)strlen(types));
    for (int i = 1; types[i - 1] && rc == SQLITE_OK; i++) {
        const char *text;
        switch (types[i - 1]) {
        case 'i':
            rc = sqlite3_bind_int64(q, i, va_arg(ap, int64_t));
            break;
        case 'd':
            rc = sqlite3_bind_double(q, i, va_arg(ap, double));
            break;
        case 't':
            text = va_arg(ap, const char *);
            rc = text ? sqlite3_bind_text(q, i, text, -1, SQLITE_TRANSIENT)
                      : sqlite3_bind_null(q, i);
            break;
        default:
            assert(types[i - 1] == 'n');
            rc = sqlite3_bind_null(q, i);
        }
    }
    return rc;
}

/* Runs a statement to its end; *first gets the first column of its first row. */
static int execute(struct store *s, struct err *e, int64_t *first, const char *sql,
                   const char *types, va_list ap)
{
    sqlite3_stmt *q = NULL;
    bool have = false;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
    if (rc == SQLITE_OK)
        rc = bind_all(q, types, ap);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(q);
        if (rc == SQLITE_ROW && first && !have)
            *first = sqlite3_column_int64(q, 0);
        have = have || rc == SQLITE_ROW;
    }
    int code = rc == SQLITE_DONE ? ERR_OK : fail(s, e, "the store cannot be used");
    sqlite3_finalize(q);
    return code;
}

int store_exec(struct store *s, struct err *e, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    int rc = execute(s, e, NULL, sql, types, ap);
    va_end(ap);
    return rc;
}

int store_get(struct store *s, struct err *e, int64_t none, int64_t *out, const char *sql,
              const char *types, ...)
{
    va_list ap;
    *out = none;
    va_start(ap, types);
    int rc = execute(s, e, out, sql, types, ap);
    va_end(ap);
    return rc;
}

int64_t store_last_id(const struct store *s)
{
    return sqlite3_last_insert_rowid(s->db);
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Before validations had an id of their own they were told by their tables. */
static enum store_kind kind_of(sqlite3_stmt *q)
{
    bool old_validation = !sqlite3_column_int(q, 0) && sqlite3_column_int(q, 3) == 4;
    return old_validation ? STORE_VALIDATION : (enum store_kind)sqlite3_column_int(q, 0);
}

int store_look(struct sqlite3 *db, const char *path, enum store_kind kind, int newest,
               int64_t *version, struct err *e)
{
    static const char runs[] = "runs (tandem run --store)";
    static const char validation[] = "a validation (tandem validate --store)";
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(db,
                                "SELECT application_id, user_version, COUNT(name),"
                                " COALESCE(SUM(name IN ('meta', 'policy', 'round', 'run')), 0)"
                                " FROM pragma_application_id, pragma_user_version LEFT JOIN"
                                " sqlite_schema ON type = 'table'",
                                -1, &q, NULL);
    if (rc != SQLITE_OK || sqlite3_step(q) != SQLITE_ROW) {
        sqlite3_finalize(q);
        return store_failed(db, path, NULL, e);
    }
    bool empty = !sqlite3_column_int(q, 2);
    enum store_kind found = kind_of(q);
    *version = empty ? 0 : sqlite3_column_int64(q, 1);
    sqlite3_finalize(q);
    const char *expected = kind == STORE_RUNS ? runs : validation;
    if (empty)
        return ERR_OK;
    if (found != STORE_RUNS && found != STORE_VALIDATION)
        return err_at(e, ERR_CORRUPT, path, 0, 0,
                      "this database is not one of Tandem's, and one with %s was expected: name "
                      "another file",
                      expected);
    if (found != kind)
        return err_at(e, ERR_MISMATCH, path, 0, 0,
                      "this store holds %s, and one with %s was expected: name another file",
                      found == STORE_RUNS ? runs : validation, expected);
    if (*version > newest)
        return err_at(e, ERR_UNSUPPORTED, path, 0, 0,
                      "the store has version %" PRId64 ", this program knows up to %d: use a newer "
                      "Tandem, or another file",
                      *version, newest);
    return ERR_OK;
}

/* Within one transaction, so that two processes that open a new file do not both build it. */
static int migrate(struct store *s, struct err *e)
{
    int64_t version = 0;
    char sql[80];
    int rc = store_exec(s, e, "BEGIN IMMEDIATE", "");
    if (rc)
        return rc;
    rc = store_look(s->db, s->path, STORE_RUNS, STORE_VERSION, &version, e);
    for (int64_t v = version; !rc && v < STORE_VERSION; v++)
        if (sqlite3_exec(s->db, migration[v], NULL, NULL, NULL) != SQLITE_OK)
            rc = fail(s, e, "the tables cannot be made");
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", STORE_VERSION);
    if (!rc && version < STORE_VERSION)
        rc = store_exec(s, e, sql, "");
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d", STORE_RUNS);
    if (!rc && version < STORE_VERSION)
        rc = store_exec(s, e, sql, "");
    int end = store_exec(s, rc ? NULL : e, rc ? "ROLLBACK" : "COMMIT", "");
    return rc ? rc : end;
}

int store_check_path(const char *path, struct err *e)
{
    if (!*path || *path == ':')
        return err_set(e, ERR_USAGE, "--store is '%s': expected the path of a file", path);
    return command_can_write(path, e);
}

/* Of a store that the disk has no room for, and that SQLite could not close without more room. */
static void remove_files(const char *path)
{
    static const char *const suffix[] = {"", "-wal", "-shm"};
    char name[4200];
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        int n = snprintf(name, sizeof name, "%s%s", path, suffix[i]);
        if (n > 0 && (size_t)n < sizeof name)
            unlink(name);
    }
}

int store_open(const char *path, struct store **out, struct err *e)
{
    int rc = store_check_path(path, e);
    if (rc)
        return rc;
    struct store *s = calloc(1, sizeof *s);
    size_t n = strlen(path) + 1;
    if (s)
        s->path = malloc(n);
    if (!s || !s->path) {
        free(s);
        return err_set(e, ERR_NOMEM, "out of memory for a store");
    }
    memcpy(s->path, path, n);
    bool made = access(path, F_OK) != 0;
    int64_t version;
    rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    rc = rc == SQLITE_OK ? ERR_OK : fail(s, e, "the store cannot be opened");
    sqlite3_busy_timeout(s->db, 10000);
    if (!rc)
        rc = store_look(s->db, path, STORE_RUNS, STORE_VERSION, &version, e);
    if (!rc)
        rc = store_exec(s, e, "PRAGMA foreign_keys = ON", "");
    if (!rc)
        rc = store_exec(s, e, "PRAGMA journal_mode = WAL", "");
    if (!rc)
        rc = store_exec(s, e, "PRAGMA synchronous = NORMAL", "");
    if (!rc)
        rc = migrate(s, e);
    if (rc) {
        bool full = s->full;
        store_close(s);
        if (made && full)
            remove_files(path);
        return rc;
    }
    *out = s;
    return ERR_OK;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    sqlite3_close(s->db);
    free(s->path);
    free(s);
}

/* ---- writing -------------------------------------------------------------------------------- */

int store_begin_experiment(struct store *s, const struct store_experiment *x, int64_t *id,
                           struct err *e)
{
    struct tm utc;
    char created[32] = "", host[256];
    time_t now = time(NULL);
    if (gmtime_r(&now, &utc))
        strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &utc);
    int rc = store_exec(s, e,
                        "INSERT INTO experiment(name, command, config, seed, source_commit, host,"
                        " created) VALUES (?, ?, ?, ?, ?, ?, ?)",
                        "tttittt", x->name, x->command, x->config, (int64_t)x->seed, tandem_commit,
                        command_host(host, sizeof host), created);
    *id = store_last_id(s);
    return rc;
}

static int add_request(struct store *s, int64_t run, const struct run_report *report, int32_t i,
                       const struct request_result *q, struct err *e)
{
    struct metrics m;
    char hash[24];
    metrics_of(q, &m);
    snprintf(hash, sizeof hash, "%016" PRIx64,
             hash_bytes(q->output, (size_t)q->n_output * sizeof *q->output, 0));
    const char *types = q->n_output ? "iittiiiiiiiiiiiiiiiidit" : "iittiiinniiiiiiiiiiidit";
    const char *sql =
        "INSERT INTO request(run, idx, id, task, prompt_tokens, output_tokens, arrive_ns, ttft_ns,"
        " e2e_ns, finish_ns, verify_steps, drafted, accepted, prefill_ns, step_ns, sample_ns,"
        " draft_ns, host_ns, other_ns, unknown_choices, distinct_4grams, cancelled, output_hash)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
    int64_t index = i, prompt = report->n_prompt[i], output = q->n_output;
    const int64_t *part = q->part_ns;
    if (!q->n_output)
        return store_exec(s, e, sql, types, run, index, report->name[i].id, report->name[i].task,
                          prompt, output, q->arrive_ns, q->finish_ns, q->n_verify, q->n_drafted,
                          q->n_accepted, part[PART_PREFILL], part[PART_STEP], part[PART_SAMPLE],
                          part[PART_DRAFT], part[PART_HOST], part[PART_OTHER], q->n_unknown,
                          m.distinct_4grams, (int64_t)q->cancelled, hash);
    return store_exec(s, e, sql, types, run, index, report->name[i].id, report->name[i].task,
                      prompt, output, q->arrive_ns, m.ttft_ns, m.e2e_ns, q->finish_ns, q->n_verify,
                      q->n_drafted, q->n_accepted, part[PART_PREFILL], part[PART_STEP],
                      part[PART_SAMPLE], part[PART_DRAFT], part[PART_HOST], part[PART_OTHER],
                      q->n_unknown, m.distinct_4grams, (int64_t)q->cancelled, hash);
}

/* The run's row; of one that failed only what is known before it. */
static int insert_run(struct store *s, int64_t experiment, const struct run_report *report,
                      const struct run_outcome *o, struct err *e)
{
    char params[600], drafters[600], hash[24];
    const struct experiment_policy *p = o->policy;
    int64_t pj = -1;
    param_format(p->type->params, p->param, params, sizeof params);
    experiment_drafters(p, drafters, sizeof drafters);
    snprintf(hash, sizeof hash, "%016" PRIx64, o->result.actions_hash);
    energy_pj(o->energy, &pj);
    int rc = store_exec(s, e,
                        "INSERT INTO run(experiment, label, policy, params, drafters, executor,"
                        " device, model, numerics_id, seed, repetition, log, end_ns, actions,"
                        " actions_hash, jobs, extrapolated, energy_pj, peak_resident_bytes, error)"
                        " VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,"
                        " CASE WHEN ?20 IS NULL THEN ?13 END, CASE WHEN ?20 IS NULL THEN ?14 END,"
                        " CASE WHEN ?20 IS NULL THEN ?15 END, NULLIF(?16, -1), NULLIF(?17, -1),"
                        " NULLIF(?18, -1), NULLIF(?19, -1), ?20)",
                        "itttttttt"
                        "iit"
                        "iit"
                        "iiiit",
                        experiment, p->label, p->type->name, params, drafters, o->executor,
                        report->device, report->model, report->numerics, (int64_t)o->seed,
                        (int64_t)o->repetition, o->code ? NULL : o->log, o->result.end_ns,
                        o->result.n_actions, hash, o->code ? (int64_t)-1 : o->n_jobs,
                        o->code ? (int64_t)-1 : o->n_extrapolated, pj,
                        o->code ? (int64_t)-1 : o->peak_resident_bytes, o->code ? o->why : NULL);
    return rc;
}

int store_add_run(struct store *s, int64_t experiment, const struct run_report *report,
                  const struct run_outcome *run, int64_t *run_id, struct err *e)
{
    bool own = sqlite3_get_autocommit(s->db);
    int rc = own ? store_exec(s, e, "BEGIN IMMEDIATE", "") : ERR_OK;
    if (rc)
        return rc;
    rc = insert_run(s, experiment, report, run, e);
    int64_t id = store_last_id(s);
    for (int32_t i = 0; !rc && !run->code && i < run->n_busy; i++)
        rc = store_exec(s, e, "INSERT INTO busy(run, processor, busy_ns) VALUES (?,?,?)", "iti", id,
                        run->busy[i].name, run->busy[i].busy_ns);
    for (int32_t i = 0; !rc && !run->code && i < run->result.n_requests; i++)
        rc = add_request(s, id, report, i, &run->result.request[i], e);
    if (run_id)
        *run_id = id;
    if (!own)
        return rc;
    int end = store_exec(s, rc ? NULL : e, rc ? "ROLLBACK" : "COMMIT", "");
    return rc ? rc : end;
}

/* ---- as a sink ------------------------------------------------------------------------------ */

struct sink {
    const char *path;
    struct store *store; /* opened when all is known that keeps a run from its start */
    int64_t experiment;
    const struct run_report *report;
};

static int sink_begin(void *self, const struct run_report *report, struct err *e)
{
    struct sink *s = self;
    struct arena arena;
    int rc = store_open(s->path, &s->store, e);
    if (rc)
        return rc;
    arena_init(&arena);
    struct store_experiment x = {.name = report->x->name,
                                 .config = experiment_text(report->x, &arena),
                                 .seed = report->x->seed[0],
                                 .command = "run"};
    s->report = report;
    rc = x.config ? store_begin_experiment(s->store, &x, &s->experiment, e)
                  : err_set(e, ERR_NOMEM, "out of memory for a store");
    arena_fini(&arena);
    return rc;
}

static int sink_add(void *self, const struct run_outcome *run, struct err *e)
{
    struct sink *s = self;
    return store_add_run(s->store, s->experiment, s->report, run, NULL, e);
}

static void sink_close(void *self)
{
    struct sink *s = self;
    store_close(s->store);
    free(s);
}

int store_sink(const char *path, struct run_sink *out, struct err *e)
{
    struct sink *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "out of memory for a store");
    s->path = path;
    *out = (struct run_sink){s, sink_begin, sink_add, sink_close};
    return ERR_OK;
}
