/* An engine and a drafter that can be held, so that a test decides what runs beside what. For one
 * test file: everything is static. */
#ifndef TANDEM_TESTS_GATE_H
#define TANDEM_TESTS_GATE_H

#include <pthread.h>

#include "sim/exec/engine.h"
#include "tests/policies/policies.h"

/* Runs jobs on the toy; the job `hold` stays inside until the gate opens. */
struct gate {
    struct engine engine; /* must be first */
    struct engine *toy;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int64_t hold;
    bool inside, open;
    int64_t last[EXEC_MAX_ROLES]; /* job of each role */
    bool disordered;
};

static void gate_caps(const struct engine *g, struct exec_caps *out)
{
    const struct gate *x = (const struct gate *)g;
    x->toy->ops->caps(x->toy, out);
}

static void gate_run(struct engine *g, const struct job *j, struct engine_out *out)
{
    struct gate *x = (struct gate *)g;
    pthread_mutex_lock(&x->lock);
    x->disordered = x->disordered || j->id <= x->last[j->role];
    x->last[j->role] = j->id;
    if (j->id == x->hold) {
        x->inside = true;
        pthread_cond_broadcast(&x->moved);
        while (!x->open)
            pthread_cond_wait(&x->moved, &x->lock);
    }
    pthread_mutex_unlock(&x->lock);
    x->toy->ops->run(x->toy, j, out);
}

static const struct engine_ops gate_ops = {"gate", gate_caps, gate_run, NULL};

/* Counts, on the gate that `drafter_gate` names; held while the gate holds job -1. */
static struct gate *drafter_gate;

static void held_append(void *self, const int32_t *token, int32_t n, struct draft_work *w)
{
    struct gate *x = drafter_gate;
    pthread_mutex_lock(&x->lock);
    if (x->hold == -1) {
        x->inside = true;
        pthread_cond_broadcast(&x->moved);
        while (!x->open)
            pthread_cond_wait(&x->moved, &x->lock);
    }
    pthread_mutex_unlock(&x->lock);
    drafter_count.append(self, token, n, w);
}

#endif
