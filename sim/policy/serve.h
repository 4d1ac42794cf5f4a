/* What the single-stream policies share: requests one after another, chunked prefill, emitting,
 * closing, cancelling. A policy holds a `struct serve` and calls these from its on_event. */
#ifndef TANDEM_POLICY_SERVE_H
#define TANDEM_POLICY_SERVE_H

#include "sim/policy/policy.h"

enum { SERVE_MAX_FLIGHT = 64, SERVE_PREFILL_FLIGHT = 16 };

/* The parameter every serving policy has, for its specification. */
#define SERVE_PARAM_CHUNK                                                                          \
    {                                                                                              \
        "chunk", "prompt tokens per prefill step", 256, 1, 4096, NULL, 0                           \
    }

struct serve {
    const struct policy_env *env;
    int32_t chunk;
    uint8_t target_role;
    int64_t next_id;
    /* the open request; -1: idle */
    int32_t request;
    const int32_t *prompt;
    int32_t n_prompt, max_tokens, n_output;
    int32_t pos;  /* tokens in the cache of sequence 0 that are sure */
    int32_t root; /* the last sure token, not in the cache yet */
    int64_t
        prefill_id; /* the last prefill step; its DONE brings the first token: the last choice */
    int32_t top_k;  /* > 0: of every prompt position the likely tokens are wanted */
    bool stepwise;  /* a chunk is submitted when serve_prefill asks for it, and the first one */
    bool closing, clearing;
    int32_t n_flight;
    int64_t flight[SERVE_MAX_FLIGHT];
    /* arrived and waiting, a ring */
    int32_t n_waiting, head;
    struct serve_waiting {
        int32_t request, n, max_tokens;
        const int32_t *prompt;
    } * waiting; /* [env->max_requests] */
};

size_t serve_mem_bytes(const struct policy_env *env);

/* `mem` holds serve_mem_bytes(). With a chunk of 0 the policy runs the prompt itself, moves `pos`
 * behind it and emits the first token. */
void serve_init(struct serve *s, void *mem, const struct policy_env *env, int32_t chunk,
                uint8_t target_role);

/* Submits a job for the open request under the next id; returns the id. */
int64_t serve_submit(struct serve *s, struct job *job, struct actions *out);

/* Handles everything but the progress of an open request. Returns with *mine true when the event is
 * the policy's to handle: a good DONE of one of its jobs while the request goes on. *started is
 * true when a request was opened (its prefill is submitted): the policy may add jobs of its own.
 * ERR_DEVICE for a job that failed, ERR_POLICY for an event that no correct executor sends. */
int serve_event(struct serve *s, const struct event *ev, struct actions *out, bool *mine,
                bool *started);

/* Submits chunks, as many as may be in flight, or one where they are stepwise. */
void serve_prefill(struct serve *s, struct actions *out);

/* Emits the n tokens, cut at the end of text or at max_tokens; the last one becomes the root.
 * Returns the number emitted; the request is closing afterwards when it came to its end. */
int32_t serve_emit(struct serve *s, const int32_t *token, int32_t n, struct actions *out);

/* Tokens that may still be emitted, and rows that still fit the context. */
int32_t serve_left(const struct serve *s);
int32_t serve_room(const struct serve *s);

#endif
