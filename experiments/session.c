#include "experiments/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/base/hash.h"
#include "sim/exec/threads.h"
#include "sim/exec/toy.h"
#ifdef TANDEM_REAL
#include "hwmodels/real/llama_engine.h"
#include "sim/llm/model.h"
#endif

/* ---- role maps ------------------------------------------------------------------------------ */

void role_map_default(struct role_map *m)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *m = (struct role_map){.n = 2};
    snprintf(m->item[0].role, sizeof m->item[0].role, "target");
    snprintf(m->item[0].device, sizeof m->item[0].device, "cpu:%ld", cores > 1 ? cores - 1 : 0);
    snprintf(m->item[1].role, sizeof m->item[1].role, "draft");
    snprintf(m->item[1].device, sizeof m->item[1].device, "cpu:0");
}

int role_check(const char *role, struct err *e)
{
    char known[200] = " ";
    for (const struct policy_type *const *t = policy_registry; *t; t++)
        for (const char *const *r = (*t)->role; *r; r++) {
            char entry[40];
            if (!strcmp(*r, role))
                return ERR_OK;
            snprintf(entry, sizeof entry, " %s,", *r);
            if (!strstr(known, entry))
                strncat(known, entry, sizeof known - strlen(known) - 1);
        }
    known[strlen(known) - 1] = 0;
    return err_set(e, ERR_USAGE, "no policy has a role '%.40s': expected one of%s", role,
                   known + 1);
}

static int check_role(const char *text, const struct role_map *m, const char *role, struct err *e)
{
    struct err why = {0};
    if (role_check(role, &why))
        return err_set(e, ERR_USAGE, "roles are '%s': %s", text, why.msg);
    for (int32_t i = 0; i < m->n; i++)
        if (!strcmp(m->item[i].role, role))
            return err_set(e, ERR_USAGE, "roles are '%s': '%s' is named twice", text, role);
    return ERR_OK;
}

int role_map_parse(const char *text, struct role_map *out, struct err *e)
{
    *out = (struct role_map){0};
    const char *at = text;
    for (;;) {
        at += strspn(at, " ,");
        if (!*at)
            break;
        char role[16], device[48];
        int used = 0;
        if (sscanf(at, "%15[^= ,]=%47[^ ,]%n", role, device, &used) != 2 || !used ||
            (at[used] && !strchr(" ,", at[used])))
            return err_set(e, ERR_USAGE,
                           "roles are '%s': expected role=device pairs, as in target=cpu:1 "
                           "draft=cpu:0; `tandem devices` lists devices",
                           text);
        if (out->n == EXEC_MAX_ROLES)
            return err_set(e, ERR_USAGE, "roles are '%s': at most %d of them", text,
                           EXEC_MAX_ROLES);
        int rc = check_role(text, out, role, e);
        if (rc)
            return rc;
        snprintf(out->item[out->n].role, sizeof out->item[0].role, "%s", role);
        snprintf(out->item[out->n++].device, sizeof out->item[0].device, "%s", device);
        at += used;
    }
    return ERR_OK;
}

const char *role_map_format(const struct role_map *m, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (int32_t i = 0; i < m->n && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s=%s", i ? " " : "", m->item[i].role,
                               m->item[i].device);
    return buf;
}

const char *role_map_find(const struct role_map *m, const char *role)
{
    for (int32_t i = 0; i < m->n; i++)
        if (!strcmp(m->item[i].role, role))
            return m->item[i].device;
    return "cpu";
}

int32_t role_map_core(const char *device)
{
    int core;
    return sscanf(device, "cpu:%d", &core) == 1 ? core : -1;
}

int32_t role_map_threads(const char *device)
{
    int threads;
    return sscanf(device, "cpu:x%d", &threads) == 1 && threads > 0 ? threads : 1;
}

/* What a name of the CPU asks for must be there: more threads than cores wait for one another. */
static int check_devices(const struct role_map *m, struct err *e)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    for (int32_t i = 0; i < m->n; i++) {
        const char *device = m->item[i].device;
        bool threads = !strncmp(device, "cpu:x", 5);
        if (!threads && strncmp(device, "cpu:", 4))
            continue;
        const char *number = device + (threads ? 5 : 4);
        size_t digits = strspn(number, "0123456789");
        long n = digits && digits < 7 && !number[digits] ? strtol(number, NULL, 10) : -1;
        if (threads ? n < 1 || n > cores : n < 0 || n >= cores)
            return err_set(e, ERR_USAGE,
                           "role '%s' is played by '%s', which is not here: this machine has %ld "
                           "cores: expected cpu:0 to cpu:%ld, cpu:x1 to cpu:x%ld threads, or cpu",
                           m->item[i].role, device, cores, cores - 1, cores);
    }
    return ERR_OK;
}

/* ---- opening -------------------------------------------------------------------------------- */

#ifdef TANDEM_REAL
static int open_model(const char *path, const struct role_map *roles, int32_t max_ctx, bool flash,
                      struct session *out, struct err *e)
{
    const char *target = role_map_find(roles, "target");
    struct llama_options o;
    struct llama_facts f;
    llama_defaults(&o);
    o.model = path;
    o.device = strncmp(target, "cpu", 3) ? target : NULL;
    o.threads = role_map_threads(target);
    o.max_ctx = max_ctx;
    o.flash = flash;
    *out = (struct session){.roles = *roles, .executor = "real"};
    int rc = check_devices(roles, e);
    if (!rc)
        rc = llama_engine_create(&o, &out->engine, e);
    if (rc)
        return rc;
    llama_engine_facts(out->engine, &f);
    struct model_desc desc;
    if (model_from_gguf(path, &desc, NULL) == ERR_OK && desc.name[0])
        snprintf(out->model, sizeof out->model, "%.90s %s", desc.name, desc.quantisation);
    else
        snprintf(out->model, sizeof out->model, "%s", f.name);
    snprintf(out->numerics, sizeof out->numerics, "%s", f.numerics);
    snprintf(out->version, sizeof out->version, "%s", f.version);
    out->model_bytes = f.model_bytes;
    out->n_vocab = f.n_vocab;
    out->n_eos = f.n_eos;
    memcpy(out->eos, f.eos, sizeof out->eos);
    return ERR_OK;
}
#else
static int open_model(const char *path, const struct role_map *roles, int32_t max_ctx, bool flash,
                      struct session *out, struct err *e)
{
    (void)roles;
    (void)max_ctx;
    (void)flash;
    *out = (struct session){0};
    return err_at(e, ERR_UNSUPPORTED, path, 0, 0,
                  "this build has no engine for models: configure with the preset release");
}
#endif

int session_open_model(const char *path, const struct role_map *roles, int32_t max_ctx,
                       struct session *out, struct err *e)
{
    return open_model(path, roles, max_ctx, false, out, e);
}

int session_open_flash(const char *path, const struct role_map *roles, int32_t max_ctx,
                       struct session *out, struct err *e)
{
    return open_model(path, roles, max_ctx, true, out, e);
}

int session_open_toy(uint64_t seed, struct session *out, struct err *e)
{
    return session_open_graphs(seed, 1, NULL, 0, out, e);
}

int session_open_graphs(uint64_t seed, int32_t blocks, const int32_t *width, int32_t n_graphs,
                        struct session *out, struct err *e)
{
    struct toy_options o;
    toy_defaults(&o);
    o.seed = seed;
    o.blocks = blocks;
    o.n_graphs = n_graphs;
    for (int32_t i = 0; i < n_graphs; i++)
        o.graph_width[i] = width[i];
    o.max_ctx = 4096;
    o.max_rows = 512;
    *out = (struct session){.executor = "toy", .n_vocab = o.n_vocab, .n_eos = 1};
    snprintf(out->model, sizeof out->model, "toy");
    snprintf(out->version, sizeof out->version, "toy");
    snprintf(out->numerics, sizeof out->numerics, "toy-%llu", (unsigned long long)seed);
    role_map_default(&out->roles);
    return toy_create(&o, &out->engine, e);
}

void session_close(struct session *s)
{
    if (s->engine)
        s->engine->ops->destroy(s->engine);
    s->engine = NULL;
}

void session_setup(const struct session *s, struct run_setup *setup)
{
    setup->n_vocab = s->n_vocab;
    setup->n_eos = s->n_eos;
    memcpy(setup->eos, s->eos, sizeof setup->eos);
    snprintf(setup->model, sizeof setup->model, "%s", s->model);
    snprintf(setup->numerics, sizeof setup->numerics, "%s", s->numerics);
    snprintf(setup->version, sizeof setup->version, "%s", s->version);
    snprintf(setup->device, sizeof setup->device, "%s", s->executor);
    role_map_format(&s->roles, setup->roles, sizeof setup->roles);
}

int session_exec(const struct session *s, const struct run_setup *setup, struct exec **out,
                 struct err *e)
{
    struct threads_options o = {.name = s->executor, .stall_ns = 120000000000};
    for (int32_t i = 0; i < EXEC_MAX_ROLES; i++)
        o.cpu[i] = -1;
    const char *const *role = setup->policy->role;
    for (int32_t i = 0; role[i]; i++)
        o.cpu[i] = role_map_core(role_map_find(&s->roles, role[i]));
    int rc = check_devices(&s->roles, e);
    return rc ? rc : threads_create(s->engine, setup, &o, out, e);
}

/* ---- text ----------------------------------------------------------------------------------- */

static int32_t toy_words(const struct session *s, const char *text, size_t n, int32_t *token,
                         int32_t cap)
{
    int32_t count = 0;
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && text[end] != ' ' && text[end] != '\n')
            end++;
        if (end > i) {
            if (count == cap)
                return -1;
            uint64_t h = hash_bytes(text + i, end - i, 0);
            token[count++] = 1 + (int32_t)(h % (uint64_t)(s->n_vocab - 1));
        }
        i = end + 1;
    }
    return count;
}

int32_t session_tokenize(const struct session *s, const char *text, size_t n, int32_t *token,
                         int32_t cap)
{
#ifdef TANDEM_REAL
    if (!strcmp(s->executor, "real"))
        return llama_engine_tokenize(s->engine, text, n, token, cap);
#endif
    return toy_words(s, text, n, token, cap);
}

const char *session_default_model(char *buf, size_t size)
{
    const char *model = getenv("TANDEM_MODEL"), *deps = getenv("TANDEM_DEPS");
    const char *home = getenv("HOME"), *file = "models/SmolLM2-135M-Instruct.pure-Q4_0.gguf";
    if (model && *model)
        snprintf(buf, size, "%s", model);
    else if (deps && *deps)
        snprintf(buf, size, "%s/%s", deps, file);
    else
        snprintf(buf, size, "%s/.cache/tandem/%s", home ? home : ".", file);
    return buf;
}
