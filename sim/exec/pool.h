/* Records of the jobs in flight: a fixed pool that copies what it is given, so that executors
 * allocate nothing after their creation. It also keeps each role's order and what waits for what.
 * Not thread-safe: the owner locks. */
#ifndef TANDEM_EXEC_POOL_H
#define TANDEM_EXEC_POOL_H

#include "sim/base/arena.h"
#include "sim/core/watch.h"
#include "sim/exec/exec.h"

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_ENDED };

struct job_record {
    struct job job;  /* its arrays are the record's */
    uint8_t state;   /* enum job_state */
    bool doomed;     /* a job that it waits for did not end well: it will be cancelled */
    int32_t blocked; /* waits that have not ended */
    int64_t start_ns, end_ns;
    uint64_t mark;    /* the executor's own: an event's id, a flow's */
    struct done done; /* outputs, but for start and end; its arrays are the record's */
    char why[EXEC_MAX_WHY];
    int32_t *words; /* storage of the job's arrays */
    float *floats;
    int32_t *choice, *top, *token, *parent, *chance;
    float *logit;
    struct job_record *next; /* of its role, or free; the owner's from its start to its release */
};

struct pool {
    int32_t cap;
    struct job_record *record; /* [cap] */
    struct job_record *free;
    struct {
        struct job_record *head, *tail; /* not started, in order of submission */
    } role[EXEC_MAX_ROLES];
    struct job_record **flight;  /* [cap], not given back yet, in order of submission */
    int32_t n_flight, n_waiting; /* of those, the ones in queues of roles */
    struct watch watch;
};

/* Records for caps.max_jobs jobs, the arena's. ERR_NOMEM. */
int pool_init(struct pool *p, struct arena *arena, const struct exec_caps *caps, struct err *e);

/* Copies a job that passed job_check to the end of its role's queue. A wait for a job that is no
 * longer in flight is met. ERR_LIMIT when caps.max_jobs are in flight. */
int pool_submit(struct pool *p, const struct job *job, struct job_record **out);

/* The first job of the role if nothing blocks it, else NULL. */
static inline struct job_record *pool_ready(const struct pool *p, int role)
{
    struct job_record *r = p->role[role].head;
    return r && !r->blocked ? r : NULL;
}

/* Takes the role's first job from its queue: it runs. */
void pool_start(struct pool *p, struct job_record *r);

/* Whether it is a DRAFT or a CALIBRATE. */
static inline bool pool_drafts(const struct job *job)
{
    return job->kind == JOB_DRAFT || job->kind == JOB_CALIBRATE;
}

/* Two jobs that use the same drafter of the same request at once would be a race inside it, and a
 * policy that should have let one wait for the other: when such a job runs beside r, which has been
 * started, r has failed, with that as its reason. */
bool pool_rival(const struct pool *p, struct job_record *r);

/* Sets done.status and done.why. */
void pool_fail(struct job_record *r, enum done_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* What is delivered of an ended job: no outputs unless it is DONE_OK, no arrays without items. */
void pool_done(const struct job_record *r, struct done *out);

/* Marks a job as ended with done.status; unblocks, or dooms, those that wait for it. */
void pool_end(struct pool *p, struct job_record *r);

/* Takes a job that has not started out of its queue, for cancelling; false when it has, or is not
 * in flight. The caller ends it. */
bool pool_withdraw(struct pool *p, struct job_record *r);

/* The job in flight of this id; NULL. */
struct job_record *pool_find(const struct pool *p, int64_t id);

/* Takes an ended job out of flight: its DONE is delivered, so waits for it are met. The record and
 * its arrays stay until pool_release. */
void pool_deliver(struct pool *p, struct job_record *r);

/* Gives the record of a delivered job back. */
void pool_release(struct pool *p, struct job_record *r);

/* What runs, and who waits for whom as watch.h writes it: "job 5 (LOAD on load) is running; job 7
 * (FORWARD on target) waits for job 5 (LOAD on load); ...". `role` names the roles. Returns buf;
 * size is at least 4. */
const char *pool_describe(struct pool *p, const char *const *role, char *buf, size_t size);

#endif
