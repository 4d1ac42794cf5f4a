/* A target to run policies on, whatever executes it: a loaded model on llama.cpp, the toy engine,
 * or a simulated device with a truth. The commands hold one and ask it for an executor per run. */
#ifndef TANDEM_EXPERIMENTS_SESSION_H
#define TANDEM_EXPERIMENTS_SESSION_H

#include "sim/exec/driver.h"
#include "sim/exec/engine.h"

/* Which device plays each role: "target=cpu:1 draft=cpu:0". A device is "cpu" (any core),
 * "cpu:N" (pinned to core N, one thread), "cpu:xN" (N threads, not pinned) or a name that
 * `tandem devices` lists. Roles that are not named are played by "cpu". */
struct role_map {
    int32_t n;
    struct {
        char role[16];
        char device[48];
    } item[EXEC_MAX_ROLES];
};

/* The default of this machine: target on the last core, everything else on the first. */
void role_map_default(struct role_map *m);
/* ERR_USAGE with the roles that there are when no policy has this one. */
int role_check(const char *role, struct err *e);

/* ERR_USAGE names the item that is wrong, or named twice. */
int role_map_parse(const char *text, struct role_map *out, struct err *e);
const char *role_map_format(const struct role_map *m, char *buf, size_t size);

/* The device of a role: "cpu" when the map does not name it. */
const char *role_map_find(const struct role_map *m, const char *role);

/* The core that a device is pinned to, or -1; the threads it asks for, at least 1. */
int32_t role_map_core(const char *device);
int32_t role_map_threads(const char *device);

/* ---- real engines --------------------------------------------------------------------------- */

struct session {
    struct engine *engine; /* owned */
    struct role_map roles;
    const char *executor; /* "real" or "toy" */
    char model[128], numerics[64], version[128];
    int64_t model_bytes;
    int32_t n_vocab, n_eos;
    int32_t eos[EXEC_MAX_EOS];
};

/* Loads a GGUF model on llama.cpp with the map's target device and room for max_ctx tokens.
 * ERR_UNSUPPORTED in a build without llama.cpp; the errors of llama_engine_create. session_close is
 * the caller's after success. */
int session_open_model(const char *path, const struct role_map *roles, int32_t max_ctx,
                       struct session *out, struct err *e);

/* The same with flash attention: other numerics than those of committed traces. */
int session_open_flash(const char *path, const struct role_map *roles, int32_t max_ctx,
                       struct session *out, struct err *e);

/* The toy engine with its defaults. */
int session_open_toy(uint64_t seed, struct session *out, struct err *e);

/* The same with static graphs of these widths, made of so many blocks. */
int session_open_graphs(uint64_t seed, int32_t blocks, const int32_t *width, int32_t n_graphs,
                        struct session *out, struct err *e);
void session_close(struct session *s);

/* Fills what a run_setup says about the target: vocabulary, end tokens, model, roles, versions. */
void session_setup(const struct session *s, struct run_setup *setup);

/* An executor for one run of `setup`, which must live as long. ERR_USAGE for a role's device that
 * is not there; the errors of threads_create. */
int session_exec(const struct session *s, const struct run_setup *setup, struct exec **out,
                 struct err *e);

/* Tokens of a prompt, as the engine has them. The toy hashes words. Returns their number, or -1
 * when there are more than cap. */
int32_t session_tokenize(const struct session *s, const char *text, size_t n, int32_t *token,
                         int32_t cap);

/* Where the set-up puts the model: TANDEM_MODEL, or the pure Q4_0 file in TANDEM_DEPS or the
 * default of it. Returns buf; the file may not exist. */
const char *session_default_model(char *buf, size_t size);

#endif
