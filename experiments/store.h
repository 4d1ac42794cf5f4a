/* The store: one SQLite file with what was run and what came of it. README.md of this folder
 * describes its tables and views.
 *
 * Writers wait for one another (WAL, 10 s). Each run is one transaction: a process that is killed
 * loses at most the run in flight. */
#ifndef TANDEM_EXPERIMENTS_STORE_H
#define TANDEM_EXPERIMENTS_STORE_H

#include "experiments/run.h"

/* PRAGMA user_version of files that this program writes. */
enum { STORE_VERSION = 2 };

struct sqlite3;
struct store;

/* What a file of ours holds: PRAGMA application_id, "Tndm" and "TndV". */
enum store_kind { STORE_RUNS = 0x546e646d, STORE_VALIDATION = 0x546e6456 };

/* Whether a database that was opened is of that kind, or empty; *version is its user_version then,
 * 0 of an empty one. Nothing is written. ERR_MISMATCH for the other kind, ERR_CORRUPT for what is
 * not Tandem's, ERR_UNSUPPORTED for a version above `newest`; the messages say what is there, what
 * was expected, and the remedy. */
int store_look(struct sqlite3 *db, const char *path, enum store_kind kind, int newest,
               int64_t *version, struct err *e);

/* Opens the file, makes it when it is not there, and migrates an older one. ERR_UNSUPPORTED for a
 * newer one, ERR_MISMATCH and ERR_CORRUPT for a file that is no store of runs, ERR_IO with SQLite's
 * words, the errors of store_check_path. A file that was made and that the disk had no room for is
 * removed. */
int store_open(const char *path, struct store **out, struct err *e);
void store_close(struct store *s);

/* Whether a store can be there; what SQLite would take for something else than a file is not.
 * ERR_IO, ERR_USAGE. */
int store_check_path(const char *path, struct err *e);

/* ERR_IO, ERR_NOMEM or ERR_CORRUPT with SQLite's words for its last error, `what` before them (may
 * be NULL), the system's where it was asked, and what can be done. */
int store_failed(struct sqlite3 *db, const char *path, const char *what, struct err *e);

struct store_experiment {
    const char *name;
    const char *config; /* the resolved configuration */
    uint64_t seed;
    const char *command; /* "run", "validate" */
};

/* Adds an experiment with the program's commit and this host; *id is its key. */
int store_begin_experiment(struct store *s, const struct store_experiment *x, int64_t *id,
                           struct err *e);

/* Adds a run with its requests, or a failed one with its error, in one transaction (or as part of
 * the one that the caller opened). `report` gives the requests' names. *run_id (may be NULL) is its
 * key. */
int store_add_run(struct store *s, int64_t experiment, const struct run_report *report,
                  const struct run_outcome *run, int64_t *run_id, struct err *e);

/* One statement with its parameters: a letter in `types` for each '?': i int64_t, d double, t
 * const char * (NULL is null), n null (no argument). Rows are dropped. The errors of store_failed,
 * here and below. */
int store_exec(struct store *s, struct err *e, const char *sql, const char *types, ...);

/* The first column of the first row as a number; `none` when there is no row. */
int store_get(struct store *s, struct err *e, int64_t none, int64_t *out, const char *sql,
              const char *types, ...);

/* Key of the row that was added last. */
int64_t store_last_id(const struct store *s);

/* A sink of the runner that stores to `path`, which it opens, and makes, when the first run is
 * about to start; `path` must outlive it. struct program's open_store. */
int store_sink(const char *path, struct run_sink *out, struct err *e);

#endif
