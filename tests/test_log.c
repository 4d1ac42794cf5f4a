/* The log's format: what is written is read back whole; what was damaged or made up is refused. */
#include "sim/exec/log.h"
#include "tests/log_fix.h"
#include "tests/scratch.h"
#include "tests/unit.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a run to log --------------------------------------------------------------------------- */

static const struct param policy_params[] = {
    {"depth", "how deep", 3, 1, 9, NULL, 0},
    {"width", "how wide", PARAM_AUTO, 1, 64, NULL, 1},
    {0},
};
static const struct param drafter_params[] = {{"ngram", "tokens", 2, 1, 8, NULL, 0}, {0}};
static const struct policy_type test_policy = {.name = "test-policy", .params = policy_params};
static const struct policy_type plain_policy = {.name = "plain"};
static const struct drafter_type test_drafter = {.name = "test-drafter", .params = drafter_params};
static const struct drafter_type bare_drafter = {.name = "bare"};
static const struct policy_type *const policies[] = {&plain_policy, &test_policy, NULL};
static const struct drafter_type *const drafters[] = {&bare_drafter, &test_drafter, NULL};
static const struct log_types types = {policies, drafters};

static void make_setup(struct run_setup *s, struct exec_caps *c)
{
    *s = (struct run_setup){.policy = &test_policy,
                            .policy_param = {7, PARAM_AUTO},
                            .n_drafters = 2,
                            .drafter = {{&test_drafter, {5}}, {&bare_drafter, {0}}},
                            .n_vocab = 49152,
                            .n_eos = 2,
                            .eos = {0, 49151},
                            .max_requests = 3,
                            .seed = 0xfedcba9876543210u,
                            .model = "a model: Q4_0",
                            .roles = "target=cpu:0 draft=cpu:1",
                            .numerics = "0123",
                            .version = "tandem 0.1 \xc3\xa9"};
    s->belief.n_widths = 2;
    s->belief.n_contexts = 3;
    s->belief.n_blocks = 1;
    s->belief.width[1] = INT32_MAX;
    s->belief.context[2] = 4097;
    s->belief.step_ns[1][2] = INT64_MAX;
    s->belief.step_ns[0][1] = 17;
    s->belief.load_ns[0] = -1;
    s->belief.block_ns[7][0] = INT64_MIN;
    *c = (struct exec_caps){.features = EXEC_TREES | EXEC_CALIBRATES | EXEC_COPIES,
                            .blocks = 6,
                            .max_rows = 256,
                            .max_ctx = 4096,
                            .max_seqs = 4,
                            .max_jobs = 8,
                            .max_topk = 5,
                            .n_slots = 2,
                            .n_graphs = 2,
                            .graph_width = {256, 32}};
}

enum { LONG = 5000 };

static int32_t long_words[LONG];
static float long_floats[LONG];
static const int32_t some[] = {INT32_MIN, -1, 0, 127, 128, INT32_MAX};
static const float reals[] = {0.0f, -0.0f, 1e-45f, 3.5f, -3.4e38f, 0.1f};

static const struct action actions[] = {
    {.kind = ACT_SUBMIT,
     .job = {.id = INT64_MAX,
             .request = INT32_MAX,
             .kind = JOB_FORWARD,
             .phase = PHASE_VERIFY,
             .role = 255,
             .n_wait = 4,
             .wait = {INT64_MIN, -1, 0, INT64_MAX},
             .forward = {INT32_MIN, -1, 2, 3, 4, INT32_MAX, 6, some, some, -7, 8, WANT_TOPK, 9,
                         10}}},
    {.kind = ACT_SUBMIT,
     .job = {.id = 1,
             .request = -1,
             .kind = JOB_HEAD,
             .n_wait = 1,
             .wait = {1},
             .forward = {.n = LONG, .token = long_words, .slot_in = 1, .slot_out = -1}}},
    {.kind = ACT_SUBMIT,
     .job = {.id = 2, .kind = JOB_DRAFT, .draft = {.drafter = 3, .max_nodes = INT32_MAX}}},
    {.kind = ACT_SUBMIT,
     .job = {.id = 3, .kind = JOB_DRAFT, .draft = {-1, 6, some, 0, 0, NULL, NULL, NULL}}},
    {.kind = ACT_SUBMIT,
     .job = {.id = 4, .kind = JOB_CALIBRATE, .calibrate = {1, 2, 2, 3, some, reals}}},
    {.kind = ACT_SUBMIT,
     .job = {.id = 5, .kind = JOB_CALIBRATE, .calibrate = {1, 2, 0, 3, NULL, NULL}}},
    {.kind = ACT_SUBMIT,
     .job = {.id = 6,
             .kind = JOB_CALIBRATE,
             .calibrate = {0, 0, 50, 100, long_words, long_floats}}},
    {.kind = ACT_SUBMIT, .job = {.id = 7, .kind = JOB_COMMIT, .commit = {3, 9, 6, some}}},
    {.kind = ACT_SUBMIT, .job = {.id = 8, .kind = JOB_COMMIT, .commit = {3, 9, 6, NULL}}},
    {.kind = ACT_SUBMIT, .job = {.id = 9, .kind = JOB_LOAD, .graph = {2, INT32_MAX}}},
    {.kind = ACT_SUBMIT, .job = {.id = 10, .kind = JOB_FREE, .graph = {INT32_MIN, 5}}},
    {.kind = ACT_SUBMIT, .job = {.id = 11, .kind = JOB_COPY, .copy = {1, -2, INT32_MAX}}},
    {.kind = ACT_CANCEL, .id = INT64_MIN},
    {.kind = ACT_WAKE, .wake_ns = EXEC_NEVER},
    {.kind = ACT_WAKE, .wake_ns = 0},
    {.kind = ACT_EMIT, .emit = {2, 6, some}},
    {.kind = ACT_EMIT, .emit = {-1, 0, NULL}},
    {.kind = ACT_FINISH, .request = INT32_MIN},
    {.kind = ACT_SUBMIT,
     .job = {.id = 3, .kind = JOB_DRAFT, .draft = {0, 0, NULL, 9, 6, some, NULL, some}}},
    {.kind = ACT_SUBMIT,
     .job = {.id = 3, .kind = JOB_DRAFT, .draft = {1, 2, some, 9, 5, some, some + 1, some}}},
};
enum { N_ACTIONS = sizeof actions / sizeof *actions };

static const struct event events[] = {
    {.time_ns = INT64_MAX, .kind = EV_WAKE, .request = -1},
    {.time_ns = INT64_MIN, .kind = EV_CANCEL_REQUEST, .request = INT32_MAX},
    {.time_ns = 3,
     .kind = EV_ARRIVE,
     .request = 0,
     .arrive = {6, some, INT32_MAX, REQUEST_AFTER_PREVIOUS}},
    {.time_ns = 4, .kind = EV_ARRIVE, .request = 1, .arrive = {0, NULL, INT32_MIN, INT64_MAX}},
    {.time_ns = 5, .kind = EV_ARRIVE, .request = 2, .arrive = {LONG, long_words, 1, 2}},
    {.time_ns = -9,
     .kind = EV_DONE,
     .request = 5,
     .done = {.id = INT64_MIN,
              .job_kind = JOB_COPY,
              .status = DONE_NO_MEMORY,
              .extrapolated = true,
              .start_ns = INT64_MAX,
              .end_ns = INT64_MIN,
              .sample_ns = -1,
              .bytes = INT64_MAX,
              .resident_bytes = INT64_MIN}},
    {.time_ns = 9,
     .kind = EV_DONE,
     .request = -1,
     .done = {.id = 4,
              .job_kind = JOB_FORWARD,
              .extrapolated = true,
              .n_choice = 3,
              .choice = some,
              .k = 2,
              .top = some,
              .logit = reals}},
    {.time_ns = 9,
     .kind = EV_DONE,
     .done = {.id = 5, .job_kind = JOB_HEAD, .n_choice = LONG, .choice = long_words}},
    {.time_ns = 10,
     .kind = EV_DONE,
     .done = {.id = 6,
              .job_kind = JOB_DRAFT,
              .tree = {LONG, long_words, long_words, NULL},
              .work = {INT64_MAX, INT64_MIN, 7}}},
    {.time_ns = 10,
     .kind = EV_DONE,
     .done = {.id = 7, .job_kind = JOB_DRAFT, .tree = {LONG, long_words, long_words, long_words}}},
};
enum { N_EVENTS = sizeof events / sizeof *events };

static const struct host_work hosts[] = {{0, 0}, {INT64_MAX, INT64_MIN}, {3, 2}};

static void fill_long(void)
{
    for (int32_t i = 0; i < LONG; i++) {
        long_words[i] = (int32_t)((uint32_t)i * 2654435761u >> 1) - (i % 3) * 1000000000;
        long_floats[i] = (float)i / 7;
    }
}

/* Writes `m` of each kind of record, at most; without the long ones when that is not all. False
 * with the error reported. */
static bool write_log(const char *path, int m)
{
    struct run_setup s;
    struct exec_caps c;
    struct log_writer *w;
    struct err e = {0};
    make_setup(&s, &c);
    if (!CHECK_EQ(log_create(path, "toy", &s, &c, &w, &e), ERR_OK)) {
        unit_str(e.msg, "", "message", __FILE__, __LINE__);
        return false;
    }
    for (int i = 0; i < m && i < N_EVENTS; i++)
        CHECK_EQ(log_event(w, &events[i], i % 2 ? events[i].time_ns : INT64_MIN + i), ERR_OK);
    for (int i = 0; i < m && i < 3; i++)
        CHECK_EQ(log_host(w, i == 1 ? INT64_MAX : i, &hosts[i]), ERR_OK);
    for (int i = 0; i < m && i < N_ACTIONS; i++)
        if (m > N_ACTIONS || actions[i].kind != ACT_SUBMIT || actions[i].job.kind != JOB_HEAD)
            CHECK_EQ(log_action(w, &actions[i]), ERR_OK);
    return CHECK_EQ(log_close(w, true, &e), ERR_OK);
}

static unsigned char *read_bytes(const char *path, size_t *n)
{
    static unsigned char buf[1 << 20];
    FILE *f = fopen(path, "rb");
    *n = f ? fread(buf, 1, sizeof buf, f) : 0;
    if (f)
        fclose(f);
    return buf;
}

/* ---- equality that does not go through the encoder ------------------------------------------ */

static bool same_words(const void *a, const void *b, int64_t n)
{
    return a && b ? !memcmp(a, b, (size_t)n * 4) : n <= 0 || a == b;
}

static bool same_job(const struct job *a, const struct job *b)
{
    if (a->id != b->id || a->request != b->request || a->kind != b->kind || a->phase != b->phase ||
        a->role != b->role || a->n_wait != b->n_wait || memcmp(a->wait, b->wait, sizeof a->wait))
        return false;
    const struct job_forward *f = &a->forward, *g = &b->forward;
    const struct job_calibrate *c = &a->calibrate, *d = &b->calibrate;
    switch (a->kind) {
    case JOB_FORWARD:
    case JOB_HEAD:
        return f->graph == g->graph && f->b0 == g->b0 && f->b1 == g->b1 && f->width == g->width &&
               f->seq == g->seq && f->pos == g->pos && f->n == g->n && f->slot_in == g->slot_in &&
               f->slot_out == g->slot_out && f->want == g->want && f->want_from == g->want_from &&
               f->want_k == g->want_k && same_words(f->token, g->token, f->n) &&
               same_words(f->parent, g->parent, f->n);
    case JOB_DRAFT:
        return a->draft.drafter == b->draft.drafter && a->draft.n == b->draft.n &&
               a->draft.max_nodes == b->draft.max_nodes && a->draft.n_rows == b->draft.n_rows &&
               same_words(a->draft.token, b->draft.token, a->draft.n) &&
               same_words(a->draft.row_token, b->draft.row_token, a->draft.n_rows) &&
               same_words(a->draft.row_parent, b->draft.row_parent, a->draft.n_rows) &&
               same_words(a->draft.row_choice, b->draft.row_choice, a->draft.n_rows);
    case JOB_CALIBRATE:
        return c->drafter == d->drafter && c->pos == d->pos && c->n == d->n && c->k == d->k &&
               same_words(c->top, d->top, (int64_t)c->n * c->k) &&
               same_words(c->logit, d->logit, (int64_t)c->n * c->k);
    case JOB_COMMIT:
        return a->commit.seq == b->commit.seq && a->commit.pos == b->commit.pos &&
               a->commit.n == b->commit.n && same_words(a->commit.row, b->commit.row, a->commit.n);
    case JOB_COPY:
        return !memcmp(&a->copy, &b->copy, sizeof a->copy);
    default:
        return !memcmp(&a->graph, &b->graph, sizeof a->graph);
    }
}

static bool same_action(const struct action *a, const struct action *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case ACT_SUBMIT:
        return same_job(&a->job, &b->job);
    case ACT_EMIT:
        return a->emit.request == b->emit.request && a->emit.n == b->emit.n &&
               same_words(a->emit.token, b->emit.token, a->emit.n);
    case ACT_FINISH:
        return a->request == b->request;
    default:
        return a->id == b->id; /* and wake_ns, which lies there too */
    }
}

static bool same_event(const struct event *a, const struct event *b)
{
    if (a->kind != b->kind || a->time_ns != b->time_ns || a->request != b->request)
        return false;
    if (a->kind == EV_ARRIVE)
        return a->arrive.n == b->arrive.n && a->arrive.max_tokens == b->arrive.max_tokens &&
               a->arrive.arrival_ns == b->arrive.arrival_ns &&
               same_words(a->arrive.token, b->arrive.token, a->arrive.n);
    if (a->kind != EV_DONE)
        return true;
    const struct done *c = &a->done, *d = &b->done;
    int64_t cells = (int64_t)c->n_choice * c->k;
    return c->id == d->id && c->job_kind == d->job_kind && c->status == d->status &&
           c->extrapolated == d->extrapolated && c->start_ns == d->start_ns &&
           c->end_ns == d->end_ns && c->sample_ns == d->sample_ns && c->bytes == d->bytes &&
           c->resident_bytes == d->resident_bytes && c->n_choice == d->n_choice &&
           same_words(c->choice, d->choice, c->n_choice) && c->k == d->k &&
           same_words(c->top, d->top, cells) && same_words(c->logit, d->logit, cells) &&
           c->tree.n == d->tree.n && same_words(c->tree.token, d->tree.token, c->tree.n) &&
           same_words(c->tree.parent, d->tree.parent, c->tree.n) &&
           same_words(c->tree.chance, d->tree.chance, c->tree.n) &&
           !memcmp(&c->work, &d->work, sizeof c->work);
}

/* ---- round trip ----------------------------------------------------------------------------- */

static void every_record_comes_back(void)
{
    char path[300];
    struct log_reader *r;
    struct log_record at;
    struct err e = {0};
    fill_long();
    scratch_path(path, sizeof path, "round.log");
    if (!write_log(path, 1000) || !CHECK_EQ(log_open(path, &r, &e), ERR_OK))
        return;
    size_t before = 0;
    for (int i = 0; i < N_EVENTS; i++) {
        CHECK_EQ(log_next(r, &at, &e), ERR_OK);
        CHECK_EQ(at.type, LOG_EVENT);
        CHECK(same_event(&at.event, &events[i]));
        CHECK_EQ(at.due_ns, i % 2 ? events[i].time_ns : INT64_MIN + i);
        CHECK_EQ(at.number, i + 1);
        CHECK(at.offset > before);
        before = at.offset;
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(log_next(r, &at, &e), ERR_OK);
        CHECK_EQ(at.type, LOG_HOST);
        CHECK_EQ(at.host.host_ns, i == 1 ? INT64_MAX : i);
        CHECK(!memcmp(&at.host.work, &hosts[i], sizeof hosts[i]));
    }
    uint64_t h = hash_mix(0);
    for (int i = 0; i < N_ACTIONS; i++) {
        CHECK_EQ(log_next(r, &at, &e), ERR_OK);
        CHECK_EQ(at.type, LOG_ACTION);
        CHECK(same_action(&at.action, &actions[i]));
        CHECK_EQ(at.time_ns, 10 + 2);
        h = action_hash(h, &actions[i]);
    }
    CHECK_EQ(log_next(r, &at, &e), ERR_OK);
    CHECK_EQ(at.type, LOG_TRAILER);
    CHECK_EQ(at.trailer.n_records, 1 + N_EVENTS + 3 + N_ACTIONS);
    CHECK_EQ(at.trailer.actions_hash, h);
    log_close_reader(r);
    remove(path);
}

/* ---- the hash of actions -------------------------------------------------------------------- */

/* Every bit of every array's words, and their order. */
static void the_hash_sees_every_word(void)
{
    enum { N = 11, MOST = 1 + 3 * N * 32 + 3 * N - 1 + 3 };
    static int32_t word[3 * N];
    struct action a = {.kind = ACT_SUBMIT, .job = {.kind = JOB_DRAFT, .id = 1}};
    struct job_draft *d = &a.job.draft;
    uint64_t hash[MOST];
    int32_t n = 0;
    for (int32_t i = 0; i < 3 * N; i++)
        word[i] = i % 5;
    *d = (struct job_draft){.n = N, .token = word, .n_rows = N};
    d->row_token = word + N;
    d->row_choice = word + 2 * N;
    hash[n++] = action_hash(7, &a);
    for (int32_t i = 0; i < 3 * N; i++)
        for (int32_t bit = 0; bit < 32; bit++) {
            word[i] = (int32_t)((uint32_t)word[i] ^ UINT32_C(1) << bit);
            hash[n++] = action_hash(7, &a);
            word[i] = (int32_t)((uint32_t)word[i] ^ UINT32_C(1) << bit);
        }
    for (int32_t i = 1; i < 3 * N; i++) {
        int32_t was = word[i];
        word[i] = word[i - 1];
        word[i - 1] = was;
        hash[n++] = action_hash(7, &a);
        word[i - 1] = word[i];
        word[i] = was;
    }
    d->row_parent = word;
    hash[n++] = action_hash(7, &a);
    a.job.wait[a.job.n_wait++] = 0;
    hash[n++] = action_hash(7, &a);
    a.job.n_wait = 0;
    hash[n++] = action_hash(8, &a);
    CHECK_EQ(n, MOST);
    for (int32_t i = 0; i < n; i++)
        for (int32_t k = 0; k < i; k++)
            CHECK(hash[i] != hash[k]);
}

static void prompts_stay_until_the_reader_is_closed(void)
{
    char path[300];
    struct log_reader *r;
    struct log_record at;
    fill_long();
    scratch_path(path, sizeof path, "prompts.log");
    if (!write_log(path, 5) || !CHECK_EQ(log_open(path, &r, NULL), ERR_OK))
        return;
    const int32_t *prompt = NULL;
    do {
        if (!CHECK_EQ(log_next(r, &at, NULL), ERR_OK))
            break;
        if (at.type == LOG_EVENT && at.event.kind == EV_ARRIVE && at.event.arrive.n == LONG)
            prompt = at.event.arrive.token;
    } while (at.type != LOG_TRAILER);
    CHECK(prompt && same_words(prompt, long_words, LONG));
    log_close_reader(r);
    remove(path);
}

static void the_header_gives_the_run_back(void)
{
    char path[300];
    struct log_reader *r;
    struct run_setup s, got;
    struct exec_caps c, caps;
    struct err e = {0};
    scratch_path(path, sizeof path, "header.log");
    make_setup(&s, &c);
    if (!write_log(path, 0) || !CHECK_EQ(log_open(path, &r, &e), ERR_OK))
        return;
    CHECK_STR(log_header(r, "executor"), "toy");
    CHECK_STR(log_header(r, "policy"), "test-policy depth=7 width=auto");
    CHECK_STR(log_header(r, "features"), "trees copies calibrates");
    CHECK_STR(log_header(r, "device"), "");
    CHECK(log_header(r, "nothing") == NULL);
    if (CHECK_EQ(log_setup(r, &types, &got, &caps, &e), ERR_OK)) {
        CHECK(got.policy == &test_policy);
        CHECK(!memcmp(got.policy_param, s.policy_param, sizeof s.policy_param));
        CHECK_EQ(got.n_drafters, 2);
        CHECK(got.drafter[0].type == &test_drafter && got.drafter[0].param[0] == 5);
        CHECK(got.drafter[1].type == &bare_drafter);
        CHECK(!memcmp(&got.belief, &s.belief, sizeof s.belief));
        CHECK(!memcmp(&caps, &c, sizeof c));
        CHECK_EQ(got.n_vocab, 49152);
        CHECK_EQ(got.n_eos, 2);
        CHECK_EQ(got.eos[1], 49151);
        CHECK_EQ(got.max_requests, 3);
        CHECK_EQ(got.seed, s.seed);
        CHECK_STR(got.model, s.model);
        CHECK_STR(got.version, s.version);
        CHECK_STR(got.numerics, s.numerics);
    }
    e = (struct err){0};
    CHECK_EQ(log_setup(r, NULL, &got, &caps, &e), ERR_UNSUPPORTED);
    CHECK_HAS(e.msg, "no policy 'test-policy'");
    CHECK_EQ(e.line, 8);
    log_close_reader(r);
    remove(path);
}

/* ---- damage --------------------------------------------------------------------------------- */

/* The first error of reading all of it, or ERR_OK. */
static int read_whole(const unsigned char *b, size_t n, struct err *e)
{
    struct log_reader *r;
    struct log_record at = {0};
    *e = (struct err){0};
    int rc = log_open_bytes("x.log", b, n, &r, e);
    if (rc)
        return rc;
    while (!rc && at.type != LOG_TRAILER)
        rc = log_next(r, &at, e);
    log_close_reader(r);
    return rc;
}

static bool small_log(unsigned char **b, size_t *n)
{
    char path[300];
    scratch_path(path, sizeof path, "small.log");
    memset(long_words, 0, sizeof long_words);
    if (!write_log(path, 4))
        return false;
    *b = read_bytes(path, n);
    remove(path);
    struct err e;
    return CHECK_EQ(read_whole(*b, *n, &e), ERR_OK);
}

static bool says_where(const struct err *e)
{
    return e->code && !strcmp(e->file, "x.log") && (strstr(e->msg, "byte") || e->line > 0);
}

static void every_truncation_is_noticed(void)
{
    unsigned char *b;
    size_t n;
    struct err e;
    if (!small_log(&b, &n))
        return;
    int silent = 0, vague = 0;
    for (size_t i = 0; i < n; i++) {
        /* A copy of its own, so that the sanitizer sees a read beyond the end. */
        unsigned char *cut = malloc(i ? i : 1);
        memcpy(cut, b, i);
        silent += !read_whole(cut, i, &e);
        vague += !says_where(&e);
        free(cut);
    }
    CHECK_EQ(silent, 0);
    CHECK_EQ(vague, 0);
    b[n] = 0;
    CHECK_EQ(read_whole(b, n + 1, &e), ERR_CORRUPT);
    CHECK_HAS(e.msg, "bytes follow the trailer");
}

static void every_flipped_bit_is_noticed(void)
{
    unsigned char *b;
    size_t n;
    struct err e;
    if (!small_log(&b, &n))
        return;
    int silent = 0, vague = 0;
    for (size_t i = 0; i < 8 * n; i++) {
        b[i / 8] ^= (unsigned char)(1 << i % 8);
        silent += !read_whole(b, n, &e);
        vague += !says_where(&e);
        b[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    CHECK_EQ(silent, 0);
    CHECK_EQ(vague, 0);
}

/* With checksums that fit, whatever the bytes say must be read without harm. */
static void damage_behind_checksums_does_no_harm(void)
{
    unsigned char *b;
    size_t n;
    struct err e;
    if (!small_log(&b, &n))
        return;
    unsigned char *copy = malloc(n);
    int noticed = 0;
    for (size_t i = 0; i < 8 * n; i++) {
        memcpy(copy, b, n);
        copy[i / 8] ^= (unsigned char)(1 << i % 8);
        log_fix(copy, n);
        noticed += read_whole(copy, n, &e) != ERR_OK;
    }
    free(copy);
    CHECK(noticed > 0);
}

static void whole_records_are_missed(void)
{
    unsigned char *b;
    size_t n;
    struct err e;
    struct log_reader *r;
    struct log_record at;
    if (!small_log(&b, &n) || !CHECK_EQ(log_open_bytes("x.log", b, n, &r, &e), ERR_OK))
        return;
    CHECK_EQ(log_next(r, &at, &e), ERR_OK);
    size_t first = at.offset;
    CHECK_EQ(log_next(r, &at, &e), ERR_OK);
    size_t length = at.offset - first;
    log_close_reader(r);
    memmove(b + first, b + first + length, n - first - length);
    CHECK_EQ(read_whole(b, n - length, &e), ERR_CORRUPT);
    CHECK_HAS(e.msg, "CRC-32 is wrong");
    log_fix(b, n - length);
    CHECK_EQ(read_whole(b, n - length, &e), ERR_CORRUPT);
    CHECK_HAS(e.msg, "counts other records");
}

/* What is no log at all says so, whatever its size. */
static void what_is_no_log_is_said(void)
{
    static char big[20000];
    static const struct {
        const char *bytes, *says;
        size_t n;
    } cases[] = {
        {"", "no log of Tandem, but an empty file: expected \"tandem-log: 3\" at byte 0", 0},
        {big, "no log of Tandem: expected \"tandem-log: 3\" at byte 0", sizeof big},
        {"schema: x\n\n", "no log of Tandem: expected", 11},
        {"tandem-", "bytes 0 to 7 hold no empty line", 7},
        {"tandem-log: \n\n", "byte 13: the header ends before its version", 14},
    };
    memset(big, 'x', sizeof big);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct log_reader *r;
        struct err e = {0};
        CHECK_EQ(log_open_bytes("x.log", cases[i].bytes, cases[i].n, &r, &e), ERR_CORRUPT);
        CHECK_HAS(e.msg, cases[i].says);
        CHECK_STR(e.file, "x.log");
    }
}

/* ---- headers -------------------------------------------------------------------------------- */

static const struct {
    const char *from, *to;
    int code, line;
    const char *says;
} edits[] = {
    {"tandem-log: 3", "tandem-lag: 1", ERR_CORRUPT, 1, "no log of Tandem"},
    {"tandem-log: 3", "tandem-log: 1", ERR_UNSUPPORTED, 1, "version is 1"},
    {"tandem-log: 3", "tandem-log: 3x", ERR_UNSUPPORTED, 1, "version is 3x"},
    {"model: ", "modal: ", ERR_SCHEMA, 4, "unknown key 'modal'"},
    {"device: ", "model: ", ERR_SCHEMA, 5, "'model' stands in line 4"},
    {"device: \n", "", ERR_SCHEMA, 24, "no key 'device'"},
    {"device: ", "device:", ERR_SCHEMA, 5, "expected \"key: value\""},
    {"device: ", "device: \xff", ERR_SCHEMA, 5, "is 0xff"},
    {"device: ", "device: \xed\xa0\x80", ERR_SCHEMA, 5, "is 0xed"},
    {"device: ", "device: \t", ERR_SCHEMA, 5, "is 0x09"},
    {"numerics: ", "numerics: 0123456789012345678901234567890123456789012345678901234567890123",
     ERR_SCHEMA, 7, "more than 63 bytes"},
    {"n_vocab: 49152", "n_vocab: 049152", ERR_SCHEMA, 11, "n_vocab is '049152'"},
    {"n_vocab: 49152", "n_vocab: 0", ERR_SCHEMA, 11, "from 1 to"},
    {"n_vocab: 49152", "n_vocab: +1", ERR_SCHEMA, 11, "'+1'"},
    {"n_vocab: 49152", "n_vocab: 2147483648", ERR_SCHEMA, 11, "2147483648"},
    {"n_vocab: 49152", "n_vocab: 99999999999999999999999", ERR_SCHEMA, 11, "9999999"},
    {"n_vocab: 49152", "n_vocab: 49152 ", ERR_SCHEMA, 11, "'49152 '"},
    {"n_vocab: 49152", "n_vocab: -0", ERR_SCHEMA, 11, "'-0'"},
    {"eos: 0 49151", "eos: 0 49152", ERR_SCHEMA, 12, "from 0 to 49151"},
    {"eos: 0 49151", "eos: 0  1", ERR_SCHEMA, 12, "a space"},
    {"eos: 0 49151", "eos: 0 1 ", ERR_SCHEMA, 12, "a space"},
    {"eos: 0 49151", "eos: 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7", ERR_SCHEMA, 12, "at most 16"},
    {"seed: fe", "seed: FE", ERR_SCHEMA, 14, "16 hexadecimal digits"},
    {"seed: fe", "seed: e", ERR_SCHEMA, 14, "16 hexadecimal digits"},
    {"trees copies", "copies copies", ERR_SCHEMA, 15, "each once"},
    {"trees copies", "tree copies", ERR_SCHEMA, 15, "expected some of"},
    {"max_ctx: 4096", "max_ctx: 16777217", ERR_SCHEMA, 18, "to 16777216"},
    {"max_jobs: 8", "max_jobs: -1", ERR_SCHEMA, 20, "from 1"},
    {"graph_widths: 256 32", "graph_widths: 1 1 1 1 1 1 1 1 1", ERR_SCHEMA, 23, "at most 8"},
    {"\nbelief: ", "\ngraph_weights: 1\nbelief: ", ERR_SCHEMA, 24, "has 1 numbers: expected 2"},
    {"\nbelief: ", "\ngraph_weights: 1 9\nbelief: ", ERR_SCHEMA, 24, "from 0 to 8"},
    {"\nbelief: ", "\nbelief: 0", ERR_SCHEMA, 24, "16 hexadecimal digits"},
    {"header_crc32: ", "header-crc32: ", ERR_CORRUPT, 0, "the header's last line"},
    {"roles: ", "roles: \n\n", ERR_CORRUPT, 0, "the header's last line"},
    {"\nmax_seqs", "\nmax-seqs: 1\nmax_seqs", ERR_SCHEMA, 19, "unknown key"},
};

/* Replaces the first `from` and makes the checksums fit; the new length. */
static size_t edit(unsigned char *b, size_t n, const char *from, const char *to)
{
    size_t f = strlen(from), t = strlen(to), at = 0;
    while (at + f <= n && memcmp(b + at, from, f))
        at++;
    if (!CHECK(at + f <= n))
        return n;
    memmove(b + at + t, b + at + f, n - at - f);
    memcpy(b + at, to, t);
    log_fix(b, n - f + t);
    return n - f + t;
}

static void headers_are_read_strictly(void)
{
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        unsigned char *b;
        size_t n;
        struct err e;
        if (!small_log(&b, &n))
            return;
        n = edit(b, n, edits[i].from, edits[i].to);
        if (!CHECK_EQ(read_whole(b, n, &e), edits[i].code) || !CHECK_EQ(e.line, edits[i].line) ||
            !CHECK_HAS(e.msg, edits[i].says))
            printf("  by '%s' for '%s'\n", edits[i].to, edits[i].from);
    }
}

/* Their line is there only where graphs share their weights. */
static void shared_weights_are_logged(void)
{
    unsigned char *b;
    size_t n;
    struct err e = {0};
    struct run_setup setup;
    struct exec_caps caps;
    struct log_reader *r;
    if (!small_log(&b, &n))
        return;
    for (int shared = 0; shared < 2; shared++) {
        if (shared)
            n = edit(b, n, "\nbelief: ", "\ngraph_weights: 0 3\nbelief: ");
        if (!CHECK_EQ(log_open_bytes("log", b, n, &r, &e), ERR_OK))
            return;
        log_limits(r, &setup, &caps);
        CHECK_EQ(log_header(r, "graph_weights") != NULL, shared);
        CHECK_EQ(caps.graph_weights[0], 0);
        CHECK_EQ(caps.graph_weights[1], shared ? 3 : 0);
        log_close_reader(r);
    }
}

static void a_wrong_belief_is_noticed(void)
{
    unsigned char *b;
    size_t n;
    struct err e;
    if (!small_log(&b, &n))
        return;
    n = edit(b, n, "\nbelief: ", "\nbelief: 0123456789abcdef\nheader_crc32: 00000000\n\n");
    /* The old hash and lines are body now: what matters is that they are not taken for one. */
    CHECK_EQ(read_whole(b, n, &e), ERR_CORRUPT);
    if (!small_log(&b, &n))
        return;
    char *hash = strstr((char *)b, "\nbelief: ");
    hash[9] = hash[9] == '0' ? '1' : '0';
    log_fix(b, n);
    CHECK_EQ(read_whole(b, n, &e), ERR_CORRUPT);
    CHECK_HAS(e.msg, "whose hash the header gives");
}

static const struct {
    const char *from, *to;
    int code;
    const char *says;
} parameters[] = {
    {"depth=7 ", "", ERR_SCHEMA, "parameter depth is missing"},
    {"depth=7 ", "depth=7 depth=7 ", ERR_SCHEMA, "depth is given twice"},
    {"depth=7 ", "depth=70 ", ERR_SCHEMA, "from 1 to 9"},
    {"depth=7 ", "deep=7 ", ERR_SCHEMA, "unknown parameter 'deep'"},
    {"depth=7 ", "depth ", ERR_SCHEMA, "expected parameter=value"},
    {"depth=7 ", "depth=7  ", ERR_SCHEMA, "expected parameter=value"},
    {"test-drafter", "test-draft", ERR_UNSUPPORTED, "no drafter 'test-draft'"},
    {"test-drafter ngram=5", "test-drafter", ERR_SCHEMA, "ngram is missing"},
    {"bare\n", "bare x=1\n", ERR_SCHEMA, "expected none"},
    {"drafter1: ", "drafter2: ", ERR_SCHEMA, "drafter2 without drafter1"},
};

static void parameters_are_read_strictly(void)
{
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
        unsigned char *b;
        size_t n;
        struct err e = {0};
        struct log_reader *r;
        struct run_setup s;
        struct exec_caps c;
        if (!small_log(&b, &n))
            return;
        n = edit(b, n, parameters[i].from, parameters[i].to);
        if (!CHECK_EQ(log_open_bytes("x.log", b, n, &r, &e), ERR_OK))
            continue;
        CHECK_EQ(log_setup(r, &types, &s, &c, &e), parameters[i].code);
        CHECK_HAS(e.msg, parameters[i].says);
        CHECK(e.line >= 8 && e.line <= 10);
        log_close_reader(r);
    }
}

/* ---- made-up records ------------------------------------------------------------------------ */

/* type, payload in hexadecimal; what the reader must say */
static const struct {
    int type;
    const char *payload, *says;
} made_up[] = {
    {LOG_BELIEF, "000000", "a second belief"},
    {9, "", "no known type"},
    {LOG_EVENT, "", "ends inside a number"},
    {LOG_EVENT, "05000000", "an event is of no known kind"},
    {LOG_EVENT, "0400000000", "longer than what it holds"},
    {LOG_EVENT, "04800000", "shortest form"},
    {LOG_EVENT, "04ffffffffffffffffff02", "more than 64 bits"},
    {LOG_EVENT, "04000080808080808001", "more than 32 bits"},
    {LOG_EVENT, "0200000002000200", "an array is missing"},
    {LOG_EVENT, "0200000001010200", "below 1"},
    {LOG_EVENT, "02000000feffffff0f010200", "longer than the record"},
    {LOG_EVENT, "0200000002020200", "neither 0 nor 1"},
    {LOG_EVENT, "0100000002090000000000000000", "a job is of no known kind"},
    {LOG_EVENT, "0100000002010800000000000000", "no known status"},
    {LOG_EVENT, "01000000020100000000000002010201", "k below 0"},
    {LOG_EVENT, "010000000201000000000000020102feffffff0f", "longer than the record"},
    {LOG_HOST, "00", "ends inside a number"},
    {LOG_ACTION, "0600", "an action is of no known kind"},
    {LOG_ACTION, "01020000000000", "a job is of no known kind"},
    {LOG_ACTION, "010200030000050000000000", "waits for too many"},
    {LOG_ACTION, "0102000300800200", "a role is above 255"},
    {LOG_ACTION, "0102000400000000000202010202", "ends inside a number"},
    {LOG_ACTION, "010200040000000000010200", "an array is missing"},
    {LOG_ACTION, "0102000100000000000000000000000000000000020102000000", "different counts"},
    {LOG_TRAILER, "00", "ends inside a number"},
};

static size_t put_record(unsigned char *b, int type, const char *hex)
{
    size_t n = 2, digits = strlen(hex) / 2;
    b[0] = (unsigned char)type;
    b[1] = (unsigned char)digits;
    for (size_t i = 0; i < digits; i++) {
        unsigned v;
        sscanf(hex + 2 * i, "%2x", &v);
        b[n++] = (unsigned char)v;
    }
    memset(b + n, 0, 4);
    return n + 4;
}

static void made_up_records_are_refused(void)
{
    for (size_t i = 0; i < sizeof made_up / sizeof *made_up; i++) {
        unsigned char *b;
        size_t n;
        struct err e;
        struct log_reader *r;
        struct log_record at;
        if (!small_log(&b, &n) || !CHECK_EQ(log_open_bytes("x.log", b, n, &r, NULL), ERR_OK) ||
            !CHECK_EQ(log_next(r, &at, NULL), ERR_OK))
            return;
        log_close_reader(r);
        n = at.offset + put_record(b + at.offset, made_up[i].type, made_up[i].payload);
        log_fix(b, n);
        CHECK_EQ(read_whole(b, n, &e), ERR_CORRUPT);
        char where[64];
        snprintf(where, sizeof where, "record 1 at byte %zu: ", at.offset);
        CHECK_HAS(e.msg, where);
        if (!CHECK_HAS(e.msg, made_up[i].says))
            printf("  by %s\n", made_up[i].payload);
    }
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool exists(const char *path, const char *more)
{
    char all[400];
    struct stat st;
    snprintf(all, sizeof all, "%s%s", path, more);
    return !stat(all, &st);
}

static void a_log_is_whole_or_absent(void)
{
    char path[300];
    struct run_setup s;
    struct exec_caps c;
    struct log_writer *w;
    struct err e = {0};
    make_setup(&s, &c);
    scratch_path(path, sizeof path, "part.log");
    CHECK_EQ(log_create(path, "sim", &s, &c, &w, &e), ERR_OK);
    CHECK(!exists(path, "") && exists(path, ".part"));
    CHECK_EQ(log_close(w, false, &e), ERR_OK);
    CHECK(!exists(path, "") && !exists(path, ".part"));

    char missing[400];
    snprintf(missing, sizeof missing, "%s/no/such/folder", path);
    CHECK_EQ(log_create(missing, "sim", &s, &c, &w, &e), ERR_IO);
    CHECK_HAS(e.msg, "no/such/folder.part");
    e = (struct err){0};
    struct log_reader *r;
    CHECK_EQ(log_open(missing, &r, &e), ERR_IO);
    CHECK_HAS(e.file, "no/such/folder");
    CHECK_EQ(log_open(".", &r, NULL), ERR_IO);

    struct stat st;
    if (!CHECK(mkfifo(path, 0600) == 0))
        return;
    alarm(20); /* ends what waits for the pipe's other end */
    e = (struct err){0};
    CHECK_EQ(log_open(path, &r, &e), ERR_IO);
    CHECK_HAS(e.msg, "is a named pipe");
    e = (struct err){0};
    CHECK_EQ(log_create(path, "sim", &s, &c, &w, &e), ERR_IO);
    CHECK_HAS(e.msg, "is a named pipe: an output would replace it");
    CHECK(!stat(path, &st) && S_ISFIFO(st.st_mode) && !exists(path, ".part"));
    alarm(0);
    unlink(path);
}

static void what_cannot_be_read_is_not_written(void)
{
    char path[300];
    struct run_setup s;
    struct exec_caps c;
    struct log_writer *w;
    struct err e = {0};
    scratch_path(path, sizeof path, "refused.log");
    make_setup(&s, &c);
    strcpy(s.device, "two\nlines: 1");
    CHECK_EQ(log_create(path, "sim", &s, &c, &w, &e), ERR_SCHEMA);
    CHECK_HAS(e.msg, "unknown key 'lines'");
    make_setup(&s, &c);
    c.max_ctx = LOG_MAX_CTX + 1;
    e = (struct err){0};
    CHECK_EQ(log_create(path, "sim", &s, &c, &w, &e), ERR_SCHEMA);
    CHECK_HAS(e.msg, "max_ctx is '16777217'");
    CHECK(!exists(path, "") && !exists(path, ".part"));

    struct action none = {.kind = ACT_SUBMIT, .job = {.id = 1}};
    make_setup(&s, &c);
    CHECK_EQ(log_create(path, "sim", &s, &c, &w, NULL), ERR_OK);
    CHECK_EQ(log_action(w, &none), ERR_POLICY);
    CHECK_EQ(log_action(w, &actions[0]), ERR_POLICY);
    CHECK_EQ(log_close(w, true, NULL), ERR_POLICY);
    CHECK(!exists(path, "") && !exists(path, ".part"));
}

static void a_full_disk_leaves_nothing(void)
{
    char path[300];
    struct run_setup s;
    struct exec_caps c;
    struct log_writer *w;
    struct err e = {0};
    struct rlimit was, small;
    make_setup(&s, &c);
    fill_long();
    scratch_path(path, sizeof path, "full.log");
    if (getrlimit(RLIMIT_FSIZE, &was)) {
        unit_skip("no limit of file sizes here");
        return;
    }
    small = was;
    small.rlim_cur = 20000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    CHECK_EQ(log_create(path, "sim", &s, &c, &w, &e), ERR_OK);
    int rc = ERR_OK, n = 0;
    while (!rc && n++ < 100)
        rc = log_action(w, &actions[1]);
    CHECK_EQ(rc, ERR_IO);
    CHECK_EQ(log_close(w, true, &e), ERR_IO);
    setrlimit(RLIMIT_FSIZE, &was);
    signal(SIGXFSZ, handler);
    CHECK_HAS(e.msg, "was not written");
    CHECK(!exists(path, "") && !exists(path, ".part"));
}

/* ---- text ----------------------------------------------------------------------------------- */

static void records_print_as_lines(void)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    if (!CHECK(f != NULL))
        return;
    log_print_action(f, &actions[0], 3);
    fputc('\n', f);
    log_print_action(f, &actions[4], INT32_MAX);
    fputc('\n', f);
    log_print_action(f, &actions[8], 3);
    fputc('\n', f);
    log_print_action(f, &actions[13], 3);
    fputc('\n', f);
    log_print_event(f, &events[2], 3);
    fputc('\n', f);
    log_print_event(f, &events[6], 2);
    fclose(f);
    CHECK_STR(text,
              "SUBMIT job=9223372036854775807 FORWARD verify request=2147483647 role=255 "
              "wait=-9223372036854775808 wait=-1 wait=0 wait=9223372036854775807 "
              "graph=-2147483648 blocks=-1..2 width=3 seq=4 pos=2147483647 n=6 slot_out=8 "
              "want=topk from=9 k=10 token[6]=-2147483648,-1,0,.. "
              "parent[6]=-2147483648,-1,0,..\n"
              "SUBMIT job=4 CALIBRATE request=0 role=0 drafter=1 pos=2 n=2 k=3 "
              "top[6]=-2147483648,-1,0,127,128,2147483647 "
              "logit[6]=0,-0,1.40129846e-45,3.5,-3.39999995e+38,0.100000001\n"
              "SUBMIT job=8 COMMIT request=0 role=0 seq=3 pos=9 row[6]=-\n"
              "WAKE wake_ns=never\n"
              "ARRIVE request=0 arrival=after-previous max_tokens=2147483647 "
              "prompt[6]=-2147483648,-1,0,..\n"
              "DONE job=4 FORWARD ok extrapolated start_ns=0 end_ns=0 choice[3]=-2147483648,-1,.. "
              "top[6]=-2147483648,-1,.. logit[6]=0,-0,..");
    free(text);
    CHECK_STR(log_status_name(200), "?");
}

static const struct unit_test tests[] = {
    {"what_is_no_log_is_said", what_is_no_log_is_said},
    {"every_record_comes_back", every_record_comes_back},
    {"the_hash_sees_every_word", the_hash_sees_every_word},
    {"prompts_stay_until_the_reader_is_closed", prompts_stay_until_the_reader_is_closed},
    {"the_header_gives_the_run_back", the_header_gives_the_run_back},
    {"every_truncation_is_noticed", every_truncation_is_noticed},
    {"every_flipped_bit_is_noticed", every_flipped_bit_is_noticed},
    {"damage_behind_checksums_does_no_harm", damage_behind_checksums_does_no_harm},
    {"whole_records_are_missed", whole_records_are_missed},
    {"headers_are_read_strictly", headers_are_read_strictly},
    {"shared_weights_are_logged", shared_weights_are_logged},
    {"a_wrong_belief_is_noticed", a_wrong_belief_is_noticed},
    {"parameters_are_read_strictly", parameters_are_read_strictly},
    {"made_up_records_are_refused", made_up_records_are_refused},
    {"a_log_is_whole_or_absent", a_log_is_whole_or_absent},
    {"what_cannot_be_read_is_not_written", what_cannot_be_read_is_not_written},
    {"a_full_disk_leaves_nothing", a_full_disk_leaves_nothing},
    {"records_print_as_lines", records_print_as_lines},
    {NULL, NULL},
};

UNIT_MAIN("log", tests)
