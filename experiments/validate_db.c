#include "experiments/validate_db.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "experiments/command.h"
#include "experiments/spec.h"
#include "experiments/store.h"
#include "sim/base/hash.h"

enum { VAL_DB_VERSION = 5 };

/* Samples and steps are arrays of this program's structs, told apart by `layout`: they
 * are for going on with, not for other programs; the columns and v_run are for those. */
static const char schema[] =
    "PRAGMA journal_mode = WAL;"
    "PRAGMA foreign_keys = ON;"
    "BEGIN;"
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
    "CREATE TABLE IF NOT EXISTS policy (policy INTEGER PRIMARY KEY, label TEXT NOT NULL UNIQUE,"
    " spec TEXT NOT NULL) STRICT;"
    /* Of the device as it is (setting 0) after so many repetitions of a prompt, or of one with
     * other threads (1) after that round of the device as it is. */
    "CREATE TABLE IF NOT EXISTS round (setting INTEGER NOT NULL, round INTEGER NOT NULL,"
    " after INTEGER NOT NULL, layout INTEGER NOT NULL, samples BLOB NOT NULL,"
    " PRIMARY KEY (setting, round)) STRICT;"
    "CREATE TABLE IF NOT EXISTS run (prompt TEXT NOT NULL, policy INTEGER NOT NULL REFERENCES"
    " policy, repetition INTEGER NOT NULL, arrive_ns INTEGER NOT NULL, first_ns INTEGER NOT NULL,"
    " last_ns INTEGER NOT NULL, verifies INTEGER NOT NULL, actions_hash INTEGER NOT NULL,"
    " layout INTEGER NOT NULL, parts BLOB NOT NULL, steps BLOB NOT NULL, output BLOB NOT NULL,"
    " seen BLOB NOT NULL,"
    " PRIMARY KEY (prompt, policy, repetition)) STRICT;"
    "CREATE VIEW IF NOT EXISTS v_run AS SELECT prompt, label, repetition, first_ns - arrive_ns AS"
    " ttft_ns, last_ns - arrive_ns AS e2e_ns, length(output) / 4 AS tokens, verifies"
    " FROM run JOIN policy USING (policy);"
    "PRAGMA application_id = 0x546e6456;" /* STORE_VALIDATION */
    "PRAGMA user_version = 5;"
    "COMMIT;";

static int failed(struct validation *v, struct err *e)
{
    return store_failed(v->db, v->o->store, NULL, e);
}

/* Prepares, or returns NULL with *e filled. */
static sqlite3_stmt *prepare(struct validation *v, const char *sql, struct err *e)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(v->db, sql, -1, &s, NULL) != SQLITE_OK)
        failed(v, e);
    return s;
}

/* Runs a statement that gives no rows, and finishes it. */
static int finish(struct validation *v, sqlite3_stmt *s, struct err *e)
{
    int rc = sqlite3_step(s);
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? ERR_OK : failed(v, e);
}

/* ---- identity ------------------------------------------------------------------------------- */

static int put_meta(struct validation *v, const char *sql, const char *key, const char *value,
                    struct err *e)
{
    sqlite3_stmt *s = prepare(v, sql, e);
    if (!s)
        return ERR_IO;
    sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, value, -1, SQLITE_STATIC);
    return finish(v, s, e);
}

/* Puts the value in, or compares it with the one that is there. */
static int same(struct validation *v, const char *key, const char *value, struct err *e)
{
    int rc = put_meta(v, "INSERT OR IGNORE INTO meta VALUES (?, ?)", key, value, e);
    sqlite3_stmt *s = rc ? NULL : prepare(v, "SELECT value FROM meta WHERE key = ?", e);
    if (!s)
        return ERR_IO;
    sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
    bool there = sqlite3_step(s) == SQLITE_ROW; /* it was put in, or there */
    const char *stored = there ? (const char *)sqlite3_column_text(s, 0) : NULL;
    if (!stored)
        rc = failed(v, e);
    else if (strcmp(stored, value))
        rc = err_at(e, ERR_MISMATCH, v->o->store, 0, 0,
                    "this validation has %s '%s', the file's has '%s': name another --store", key,
                    value, stored);
    sqlite3_finalize(s);
    return rc;
}

static int put_policy(struct validation *v, int32_t p, struct err *e)
{
    char spec[SPEC_TEXT];
    spec_format(&v->policy[p].setup, spec);
    sqlite3_stmt *s = prepare(v, "INSERT OR IGNORE INTO policy VALUES (?, ?, ?)", e);
    if (!s)
        return ERR_IO;
    sqlite3_bind_int(s, 1, p);
    sqlite3_bind_text(s, 2, v->policy[p].label, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 3, spec, -1, SQLITE_STATIC);
    int rc = finish(v, s, e);
    s = rc ? NULL : prepare(v, "SELECT label, spec FROM policy WHERE policy = ?", e);
    if (!s)
        return ERR_IO;
    sqlite3_bind_int(s, 1, p);
    bool there = sqlite3_step(s) == SQLITE_ROW; /* it was put in, or there */
    const char *label = there ? (const char *)sqlite3_column_text(s, 0) : NULL;
    const char *stored = there ? (const char *)sqlite3_column_text(s, 1) : NULL;
    if (!label || !stored)
        rc = failed(v, e);
    else if (strcmp(label, v->policy[p].label) || strcmp(stored, spec))
        rc = err_at(e, ERR_MISMATCH, v->o->store, 0, 0,
                    "was begun with another policy %" PRId32 ": name another --store; here %s "
                    "(%s), there %s (%s)",
                    p, v->policy[p].label, spec, label, stored);
    sqlite3_finalize(s);
    return rc;
}

static int put_policies(struct validation *v, struct err *e)
{
    char n[16];
    int rc = ERR_OK;
    for (int32_t p = 0; p < v->n_policies && !rc; p++)
        rc = put_policy(v, p, e);
    snprintf(n, sizeof n, "%" PRId32, v->n_policies);
    return rc ? rc : same(v, "policies", n, e);
}

static int put_prompt(struct validation *v, const struct val_prompt *q, struct err *e)
{
    char key[300], value[64];
    snprintf(key, sizeof key, "prompt %.280s", q->id);
    snprintf(value, sizeof value, "%d tokens %016" PRIx64 ", %d output tokens", q->n,
             hash_bytes(q->token, (size_t)q->n * sizeof *q->token, 0), q->max_tokens);
    return same(v, key, value, e);
}

/* What a run's time depends on: one made with --quick is no repetition of one without. */
static int put_prompts(struct validation *v, struct err *e)
{
    int rc = ERR_OK;
    for (int32_t p = 0; p < v->n_prompts && !rc; p++)
        rc = put_prompt(v, &v->prompt[p], e);
    for (int32_t p = 0; p < VAL_SETTINGS && !rc; p++)
        if (!v->change.why_not[p])
            rc = put_prompt(v, &v->prompt[VAL_MAX_PROMPTS + p], e);
    for (int32_t p = 0; p < v->n_blind && !rc; p++)
        rc = put_prompt(v, &v->prompt[VAL_BLIND + p], e);
    return rc;
}

/* What the runs do not depend on, and a reader wants to know: of the command that opened the file
 * last. */
static int setting(struct validation *v, const char *key, const char *value, struct err *e)
{
    return put_meta(v, "INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value, e);
}

static int put_number(struct validation *v, const char *key, double x, struct err *e)
{
    char text[40];
    snprintf(text, sizeof text, "%.15g", x);
    return setting(v, key, text, e);
}

static const char *join(const int32_t *x, int32_t n, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (int32_t i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%" PRId32, i ? " " : "", x[i]);
    return buf;
}

static int put_settings(struct validation *v, struct err *e)
{
    const struct val_options *o = v->o;
    const struct measure_plan *p = &v->plan;
    char text[800], key[32];
    int rc = setting(v, "version", tandem_version, e);
    if (!rc)
        rc = put_number(v, "budget_s", o->budget_s, e);
    if (!rc)
        rc = setting(v, "quick", o->quick ? "true" : "false", e);
    if (!rc)
        rc = put_number(v, "rounds", o->rounds, e);
    if (!rc)
        rc = put_number(v, "max_prompts", o->max_prompts, e);
    if (!rc)
        rc = put_number(v, "max_ctx", o->max_ctx, e);
    if (!rc)
        rc = setting(v, "widths", join(p->width, p->n_widths, text, sizeof text), e);
    if (!rc)
        rc = setting(v, "contexts", join(p->context, p->n_contexts, text, sizeof text), e);
    for (int32_t i = 0; i < o->n_workloads && !rc; i++) {
        snprintf(key, sizeof key, "workload %" PRId32, i);
        rc = setting(v, key, o->workload[i], e);
    }
    return rc;
}

static int put_identity(struct validation *v, struct err *e)
{
    char roles[256];
    role_map_format(&v->session.roles, roles, sizeof roles);
    char seed[32], repetitions[32], host[256];
    snprintf(seed, sizeof seed, "%" PRIu64, v->o->seed);
    snprintf(repetitions, sizeof repetitions, "%d", v->o->repetitions);
    int rc = same(v, "numerics_id", v->session.numerics, e);
    if (!rc)
        rc = same(v, "repetitions", repetitions, e);
    if (!rc)
        rc = same(v, "seed", seed, e);
    if (!rc)
        rc = same(v, "source_commit", tandem_commit, e);
    if (!rc)
        rc = same(v, "host", command_host(host, sizeof host), e);
    if (!rc)
        rc = same(v, "model", v->session.model, e);
    if (!rc)
        rc = same(v, "roles", roles, e);
    if (!rc)
        rc = same(v, "device", v->o->device_in ? v->o->device_in : "profiled", e);
    if (!rc)
        rc = put_policies(v, e);
    if (!rc)
        rc = put_prompts(v, e);
    return rc ? rc : put_settings(v, e);
}

/* ---- loading -------------------------------------------------------------------------------- */

static int load_round(struct validation *v, sqlite3_stmt *s, struct err *e)
{
    struct val_change *c = &v->change;
    bool changed = sqlite3_column_int(s, 0) == VAL_THREADS;
    int32_t *n_rounds = changed ? &c->n_rounds : &v->n_rounds;
    int32_t most = changed ? c->want_rounds : (int32_t)(sizeof v->round / sizeof *v->round);
    const struct sample *x = sqlite3_column_blob(s, 3);
    int32_t n = sqlite3_column_bytes(s, 3) / (int32_t)sizeof *x;
    int rc = ERR_OK;
    if (sqlite3_column_int(s, 4) != (int)sizeof *x || sqlite3_column_int(s, 1) != *n_rounds ||
        *n_rounds >= most)
        return err_at(e, ERR_MISMATCH, v->o->store, 0, 0,
                      "holds calibration rounds that this validation does not have: name another "
                      "--store");
    for (int32_t i = 0; i < n && !rc; i++)
        rc = samples_add(changed ? &c->samples : &v->samples, &x[i]);
    if (rc)
        return err_set(e, rc, "out of memory for samples");
    if (changed)
        c->beside[c->n_rounds++] = sqlite3_column_int(s, 2);
    else
        v->round[v->n_rounds++].after = sqlite3_column_int(s, 2);
    return ERR_OK;
}

static int load_rounds(struct validation *v, struct err *e)
{
    sqlite3_stmt *s = prepare(
        v, "SELECT setting, round, after, samples, layout FROM round ORDER BY setting, round", e);
    if (!s)
        return ERR_IO;
    int rc = ERR_OK;
    while (!rc && sqlite3_step(s) == SQLITE_ROW)
        rc = load_round(v, s, e);
    sqlite3_finalize(s);
    for (int32_t k = 0; k < v->change.n_rounds && !rc; k++)
        if (v->change.beside[k] < 0 || v->change.beside[k] >= v->n_rounds)
            rc = err_at(e, ERR_MISMATCH, v->o->store, 0, 0,
                        "was altered: a calibration round is missing: name another --store");
    return rc;
}

static void *copy_blob(struct validation *v, sqlite3_stmt *s, int column, size_t size, int32_t *n)
{
    *n = sqlite3_column_bytes(s, column) / (int32_t)size;
    void *to = arena_alloc(&v->arena, (size_t)*n + 1, size);
    if (to && *n)
        memcpy(to, sqlite3_column_blob(s, column), (size_t)*n * size);
    return to;
}

/* The place of a prompt, changed ones included; -1. */
static int32_t find_prompt(const struct validation *v, const char *id)
{
    for (int32_t p = 0; p < v->n_prompts; p++)
        if (!strcmp(v->prompt[p].id, id))
            return p;
    for (int32_t p = 0; p < VAL_SETTINGS; p++)
        if (!v->change.why_not[p] && !strcmp(v->prompt[VAL_MAX_PROMPTS + p].id, id))
            return VAL_MAX_PROMPTS + p;
    for (int32_t p = 0; p < v->n_blind; p++)
        if (!strcmp(v->prompt[VAL_BLIND + p].id, id))
            return VAL_BLIND + p;
    return -1;
}

static int load_run(struct validation *v, sqlite3_stmt *s, struct err *e)
{
    const char *id = (const char *)sqlite3_column_text(s, 0);
    int32_t p = find_prompt(v, id), parts;
    int32_t policy = sqlite3_column_int(s, 1), rep = sqlite3_column_int(s, 2);
    if (p < 0 || policy < 0 || policy >= v->n_policies || rep < 0 || rep >= v->o->repetitions ||
        sqlite3_column_int(s, 8) != (int)sizeof(struct step))
        return err_at(e, ERR_MISMATCH, v->o->store, 0, 0,
                      "holds a run of prompt %s that this validation does not have: name another "
                      "--store",
                      id);
    struct val_run *r = val_run_at(v, p, policy, rep);
    r->arrive_ns = sqlite3_column_int64(s, 3);
    r->first_ns = sqlite3_column_int64(s, 4);
    r->last_ns = sqlite3_column_int64(s, 5);
    r->n_verify = sqlite3_column_int64(s, 6);
    r->actions_hash = (uint64_t)sqlite3_column_int64(s, 7);
    const int64_t *part = copy_blob(v, s, 9, sizeof *part, &parts);
    r->step = copy_blob(v, s, 10, sizeof *r->step, &r->n_steps);
    r->output = copy_blob(v, s, 11, sizeof *r->output, &r->n_output);
    r->seen = copy_blob(v, s, 12, sizeof *r->seen, &r->n_seen);
    if (!part || !r->step || !r->output || !r->seen)
        return err_set(e, ERR_NOMEM, "out of memory for runs");
    for (int32_t i = 0; i < parts && i < PARTS; i++)
        r->part_ns[i] = part[i];
    r->done = true;
    return ERR_OK;
}

static int load_runs(struct validation *v, struct err *e)
{
    sqlite3_stmt *s = prepare(v,
                              "SELECT prompt, policy, repetition, arrive_ns, first_ns, last_ns,"
                              " verifies, actions_hash, layout, parts, steps, output, seen"
                              " FROM run",
                              e);
    if (!s)
        return ERR_IO;
    int rc = ERR_OK, n = 0;
    while (!rc && sqlite3_step(s) == SQLITE_ROW) {
        rc = load_run(v, s, e);
        n++;
    }
    sqlite3_finalize(s);
    if (!rc && n && !v->o->resume)
        return err_at(e, ERR_USAGE, v->o->store, 0, 0,
                      "holds %d runs already: --resume goes on with them, or name another --store",
                      n);
    return rc;
}

static int execute(struct validation *v, const char *sql, struct err *e)
{
    return sqlite3_exec(v->db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : failed(v, e);
}

static int in_use(const struct validation *v, struct err *e)
{
    return err_at(e, ERR_IO, v->o->store, 0, 0,
                  "another process writes into it: wait for its end, or name another --store");
}

static int begin(struct validation *v, struct err *e)
{
    if (sqlite3_exec(v->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK)
        return ERR_OK;
    return sqlite3_errcode(v->db) == SQLITE_BUSY ? in_use(v, e) : failed(v, e);
}

static void lock_path(const struct validation *v, char *buf, size_t size)
{
    snprintf(buf, size, "%s.lock", v->o->store);
}

/* One process at a time measures into a store: a transaction per run keeps two from one row, not
 * from one validation. Readers are free to look on. The kernel drops the lock with its process; a
 * file that was locked and then removed by its holder locks nothing, and is made anew. */
static int lock(struct validation *v, struct err *e)
{
    char path[4200];
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat held, named;
    lock_path(v, path, sizeof path);
    for (;;) {
        v->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (v->lock < 0)
            return err_at(e, ERR_IO, v->o->store, 0, 0, "cannot make %s: %s", path,
                          err_system(errno));
        if (fcntl(v->lock, F_SETLK, &whole)) {
            int why = errno;
            close(v->lock);
            return why == EACCES || why == EAGAIN
                       ? in_use(v, e)
                       : err_at(e, ERR_IO, v->o->store, 0, 0, "cannot lock %s: %s", path,
                                err_system(why));
        }
        if (!fstat(v->lock, &held) && !stat(path, &named) && held.st_dev == named.st_dev &&
            held.st_ino == named.st_ino) {
            v->locked = true;
            return ERR_OK;
        }
        close(v->lock);
    }
}

static void unlock(struct validation *v)
{
    char path[4200];
    if (!v->locked)
        return;
    lock_path(v, path, sizeof path);
    unlink(path);
    close(v->lock);
    v->locked = false;
}

/* Nothing is put into a file that holds something else, or what another version wrote. */
static int check_file(struct validation *v, struct err *e)
{
    int64_t version;
    int rc = store_look(v->db, v->o->store, STORE_VALIDATION, VAL_DB_VERSION, &version, e);
    if (rc || !version || version == VAL_DB_VERSION)
        return rc;
    return err_at(e, ERR_UNSUPPORTED, v->o->store, 0, 0,
                  "this validation has version %" PRId64 ", and this program goes on with %d "
                  "alone: name another --store",
                  version, VAL_DB_VERSION);
}

int val_db_open(struct validation *v, struct err *e)
{
    int rc = store_check_path(v->o->store, e);
    if (!rc)
        rc = lock(v, e);
    /* With the lock: who holds it may be about to make the file. */
    if (!rc && v->o->resume && access(v->o->store, F_OK))
        rc = err_at(e, ERR_USAGE, v->o->store, 0, 0,
                    "is not there, and --resume goes on with a store: name the one of the run that "
                    "was stopped, or leave --resume out");
    if (rc)
        return rc;
    if (sqlite3_open(v->o->store, &v->db) != SQLITE_OK)
        return failed(v, e);
    sqlite3_busy_timeout(v->db, 5000);
    rc = check_file(v, e);
    if (!rc)
        rc = execute(v, schema, e);
    if (!rc)
        rc = begin(v, e);
    if (!rc)
        rc = put_identity(v, e);
    if (!rc)
        rc = execute(v, "COMMIT", e);
    if (!rc)
        rc = load_rounds(v, e);
    return rc ? rc : load_runs(v, e);
}

void val_db_close(struct validation *v)
{
    sqlite3_close(v->db);
    v->db = NULL;
    unlock(v);
}

/* ---- writing -------------------------------------------------------------------------------- */

int val_db_put_round(struct validation *v, enum val_setting setting, int32_t round,
                     int32_t first_sample, struct err *e)
{
    sqlite3_stmt *s = prepare(v, "INSERT INTO round VALUES (?, ?, ?, ?, ?)", e);
    if (!s)
        return ERR_IO;
    bool changed = setting == VAL_THREADS;
    const struct samples *from = changed ? &v->change.samples : &v->samples;
    const struct sample *x = from->item + first_sample;
    sqlite3_bind_int(s, 1, (int)setting);
    sqlite3_bind_int(s, 2, round);
    sqlite3_bind_int(s, 3, changed ? v->change.beside[round] : v->round[round].after);
    sqlite3_bind_int(s, 4, (int)sizeof *x);
    sqlite3_bind_blob(s, 5, x, (from->n - first_sample) * (int)sizeof *x, SQLITE_STATIC);
    return finish(v, s, e);
}

int val_db_put_run(struct validation *v, int32_t prompt, int32_t policy, int32_t rep, struct err *e)
{
    sqlite3_stmt *s = prepare(v, "INSERT INTO run VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", e);
    if (!s)
        return ERR_IO;
    const struct val_run *r = val_run_at(v, prompt, policy, rep);
    sqlite3_bind_text(s, 1, v->prompt[prompt].id, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 2, policy);
    sqlite3_bind_int(s, 3, rep);
    sqlite3_bind_int64(s, 4, r->arrive_ns);
    sqlite3_bind_int64(s, 5, r->first_ns);
    sqlite3_bind_int64(s, 6, r->last_ns);
    sqlite3_bind_int64(s, 7, r->n_verify);
    sqlite3_bind_int64(s, 8, (int64_t)r->actions_hash);
    sqlite3_bind_int(s, 9, (int)sizeof *r->step);
    sqlite3_bind_blob(s, 10, r->part_ns, (int)sizeof r->part_ns, SQLITE_STATIC);
    sqlite3_bind_blob(s, 11, r->step, r->n_steps * (int)sizeof *r->step, SQLITE_STATIC);
    sqlite3_bind_blob(s, 12, r->output, r->n_output * (int)sizeof *r->output, SQLITE_STATIC);
    sqlite3_bind_blob(s, 13, r->seen, r->n_seen * (int)sizeof *r->seen, SQLITE_STATIC);
    return finish(v, s, e);
}
