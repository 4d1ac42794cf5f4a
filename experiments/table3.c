#include "experiments/table3.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

const char *const t3_shared_name[T3_SHARED] = {
    [T3_PROMPT] = "prompt",       [T3_G1] = "g1",
    [T3_RATIO] = "g1_over_g2",    [T3_BLOCKS] = "blocks",
    [T3_BYTES] = "bytes",         [T3_LAYER] = "layer",
    [T3_WEIGHTS] = "weights",     [T3_NPU_RATE] = "npu",
    [T3_ATTENTION] = "attention", [T3_LOAD] = "load",
    [T3_STALL] = "stall",         [T3_DRAFT] = "draft",
    [T3_CALIBRATE] = "calibrate", [T3_MAX_DRAFT] = "max_draft",
    [T3_MATCH] = "match",
};

const char *const t3_own_name[T3_OWN] = {
    [T3_OUTPUT] = "output",
    [T3_ACCEPTED] = "accepted",
    [T3_GAIN] = "gain",
    [T3_OVERFLOW] = "overflow",
};

const char *const t3_cell_name[T3_CELLS] = {"NPU", "+G", "+SD", "+G+SD", "Ours"};

/* ---- hypotheses ----------------------------------------------------------------------------- */

struct t3_hypothesis t3_hypothesis_at(int32_t i)
{
    static const struct {
        enum t3_decode decode;
        enum t3_replaces replaces;
    } switching[] = {{T3_DECODE_G2, T3_SYNC},
                     {T3_DECODE_G2, T3_LAST_CHUNK},
                     {T3_DECODE_ONE, T3_SYNC},
                     {T3_DECODE_ONE, T3_LAST_CHUNK},
                     {T3_DECODE_G1, T3_NO_SWITCH}};
    assert(i >= 0 && i < T3_HYPOTHESES);
    return (struct t3_hypothesis){.decode = switching[i / 6].decode,
                                  .replaces = switching[i / 6].replaces,
                                  .calibration = (enum t3_calibration)(i / 3 % 2),
                                  .overflow = (enum t3_overflow)(i % 3)};
}

const char *t3_hypothesis_format(struct t3_hypothesis h, char *buf, size_t size)
{
    static const char *const decode[] = {"g2", "width 1", "g1"};
    static const char *const replaces[] = {"sync", "last-chunk", "no switch"};
    static const char *const calibration[] = {"overlapped", "serial"};
    static const char *const overflow[] = {"cut", "matches", "free"};
    snprintf(buf, size, "decode %s, replaces %s, calibration %s, overflow %s", decode[h.decode],
             replaces[h.replaces], calibration[h.calibration], overflow[h.overflow]);
    return buf;
}

bool t3_uses_shared(struct t3_hypothesis h, enum t3_shared u)
{
    switch (u) {
    case T3_CALIBRATE:
        return h.calibration == T3_SERIAL;
    case T3_MAX_DRAFT:
        return h.overflow != T3_CUT;
    case T3_MATCH:
        return h.overflow == T3_MATCHES;
    default:
        return true;
    }
}

bool t3_uses_own(struct t3_hypothesis h, enum t3_own u, int32_t model)
{
    if (u == T3_OVERFLOW)
        return h.overflow == T3_FREE;
    return model != T3_Q15 || (u != T3_ACCEPTED && u != T3_GAIN);
}

double t3_value(const struct t3_unknown *k, double u)
{
    if (k->n_choices) {
        int32_t i = (int32_t)floor(u * k->n_choices);
        i = i < 0 ? 0 : i >= k->n_choices ? k->n_choices - 1 : i;
        return k->choice[i];
    }
    return k->log ? k->low * exp(u * k->span) : k->low + u * (k->high - k->low);
}

/* ---- switching ------------------------------------------------------------------------------ */

/* The blocks of a request on their way from G1 to G2. */
struct walk {
    int32_t blocks, chunks;
    double load_ms, loaded; /* when the load in flight ends */
    int32_t loading;        /* -1: none */
    int32_t last;           /* that is not on G2; -1: all are */
    bool on_g2[T3_MAX_BLOCKS];
};

static void begin_load(struct walk *w, int32_t block, double now)
{
    w->loading = block;
    w->loaded = now + w->load_ms;
}

static void end_load(struct walk *w)
{
    w->on_g2[w->loading] = true;
    w->loading = -1;
    while (w->last >= 0 && w->on_g2[w->last])
        w->last--;
}

/* The last block below `limit` that is not on G2; -1: there is none. */
static int32_t last_on_g1(const struct walk *w, int32_t limit)
{
    int32_t j = limit - 1 < w->last ? limit - 1 : w->last;
    while (j >= 0 && w->on_g2[j])
        j--;
    return j;
}

/* Blocks from i on that can hide a load of block j: the least number of this chunk's, before j,
 * that take as long; 0: too few. *room gets how many there are, then. */
static int32_t hiding(const struct walk *w, int32_t i, int32_t j, double g1_ms, double g2_ms,
                      int32_t *room)
{
    double window = 0, most = g1_ms > g2_ms ? g1_ms : g2_ms;
    *room = j < i ? w->blocks - i : j - i;
    if (*room * most * (1 + 1e-9) < w->load_ms) /* whatever the sum is rounded to */
        return 0;
    for (int32_t k = 0; k < *room; k++) {
        window += w->on_g2[i + k] ? g2_ms : g1_ms;
        if (window >= w->load_ms)
            return k + 1;
    }
    return 0;
}

double t3_progressive_ms(int32_t blocks, int32_t chunks, double g1_ms, double g2_ms, double load_ms,
                         bool stall)
{
    struct walk w = {
        .blocks = blocks, .chunks = chunks, .load_ms = load_ms, .loading = -1, .last = blocks - 1};
    double now = 0;
    int32_t left = 0; /* blocks that run before the next decision; -1: all */
    assert(blocks >= 1 && blocks <= T3_MAX_BLOCKS);
    for (int32_t cell = 0, i = 0, room; cell < chunks * blocks; cell++) {
        bool last_chunk = cell >= (chunks - 1) * blocks;
        while (!left) {
            if (w.loading >= 0 && w.loaded <= now)
                end_load(&w);
            int32_t j = last_on_g1(&w, blocks);
            if (j < 0) { /* all are there: the rest of the prompt runs on G2 */
                for (; cell < chunks * blocks; cell++)
                    now += g2_ms;
                return now;
            }
            if (last_chunk && j < i) { /* what the prompt is done with stalls nothing */
                left = -1;
                if (w.loading < 0)
                    begin_load(&w, j, now);
            } else if (w.loading == i) {
                now = w.loaded;
            } else if (w.loading >= 0) {
                left = 1;
            } else {
                int32_t k = hiding(&w, i, j, g1_ms, g2_ms, &room);
                left = k ? k : stall ? room : 1;
                if (k || stall)
                    begin_load(&w, j, now);
            }
        }
        double end = now + (w.on_g2[i] ? g2_ms : g1_ms);
        while (w.loading >= 0 && w.loaded < end) {
            double then = w.loaded;
            end_load(&w);
            int32_t behind = last_chunk ? last_on_g1(&w, i) : -1;
            if (behind >= 0)
                begin_load(&w, behind, then);
        }
        now = end;
        left -= left > 0;
        i = i + 1 < blocks ? i + 1 : 0;
    }
    while (w.loading >= 0 || last_on_g1(&w, blocks) >= 0) {
        if (w.loading < 0)
            begin_load(&w, last_on_g1(&w, blocks), now);
        now = w.loaded > now ? w.loaded : now;
        end_load(&w);
        if (last_on_g1(&w, blocks) >= 0)
            begin_load(&w, last_on_g1(&w, blocks), w.loaded);
    }
    return now;
}

double t3_last_chunk_ms(int32_t blocks, int32_t chunks, double g1_ms, double load_ms)
{
    double from = (chunks - 1) * blocks * g1_ms, loaded = from;
    for (int32_t b = 0; b < blocks; b++) {
        double ran = from + (b + 1) * g1_ms;
        loaded = (loaded > ran ? loaded : ran) + load_ms;
    }
    return loaded;
}

/* ---- cells ---------------------------------------------------------------------------------- */

/* ms of one pass of `width` rows that see `context` tokens. */
static double pass_ms(const struct t3_model *m, const double *shared, double width, double context,
                      bool head)
{
    double params = m->linear_params + (head ? m->head_params : 0);
    double reading = params * shared[T3_BYTES] / (shared[T3_WEIGHTS] * 1e6);
    double products = 2 * params * width / (shared[T3_NPU_RATE] * 1e9);
    double attention =
        m->layers * 4 * m->attention * context * width / (shared[T3_ATTENTION] * 1e6);
    return m->layers * shared[T3_LAYER] + (reading > products ? reading : products) + attention;
}

static double load_of(const struct t3_model *m, const struct t3_model *base, const double *shared)
{
    return 1000 * shared[T3_LOAD] * (m->linear_params + m->head_params) /
           (base->linear_params + base->head_params);
}

void t3_times_before(const struct t3_model *m, const struct t3_model *base, const double *shared,
                     struct t3_times *out)
{
    double prompt = shared[T3_PROMPT], g1 = shared[T3_G1], g2 = g1 / shared[T3_RATIO];
    int32_t blocks = (int32_t)shared[T3_BLOCKS], chunks = (int32_t)ceil(prompt / g1);
    double chunk = pass_ms(m, shared, g1, prompt / 2, false), load = load_of(m, base, shared);
    struct t3_model layer = *m;
    layer.linear_params /= m->layers;
    layer.layers = 1;
    *out = (struct t3_times){
        .prefill = chunks * chunk,
        .step_one = pass_ms(m, shared, 1, prompt, true),
        .step_g2 = pass_ms(m, shared, g2, prompt, true),
        .step_g1 = pass_ms(m, shared, g1, prompt, true),
        .step_draft = pass_ms(&layer, shared, 1, prompt, true),
        .g1 = g1,
        .g2 = g2,
    };
    out->exposed[T3_SYNC] = load;
    out->exposed[T3_LAST_CHUNK] =
        t3_last_chunk_ms(blocks, chunks, chunk / blocks, load / blocks) - out->prefill;
}

void t3_times_progressive(const struct t3_model *m, const struct t3_model *base,
                          const double *shared, struct t3_times *out)
{
    double prompt = shared[T3_PROMPT], g1 = shared[T3_G1], g2 = g1 / shared[T3_RATIO];
    int32_t blocks = (int32_t)shared[T3_BLOCKS], chunks = (int32_t)ceil(prompt / g1);
    double chunk = pass_ms(m, shared, g1, prompt / 2, false);
    double narrow = pass_ms(m, shared, g2, prompt / 2, false) * shared[T3_RATIO];
    double load = load_of(m, base, shared);
    out->progressive = t3_progressive_ms(blocks, chunks, chunk / blocks, narrow / blocks,
                                         load / blocks, shared[T3_STALL] > 0) -
                       out->prefill;
}

void t3_times_of(const struct t3_model *m, const struct t3_model *base, const double *shared,
                 struct t3_times *out)
{
    t3_times_before(m, base, shared, out);
    t3_times_progressive(m, base, shared, out);
}

/* The author's public rule drafts 1 + 4 * match tokens, at least 10, at most max_draft; the root is
 * a row too. Matches of mean length m are taken as geometric: P(length >= n) = (m / (1 + m))^n. */
static double passes_of_matches(double mean, double max_draft, double width)
{
    double q = mean / (1 + mean), passes = 1;
    for (int32_t j = 1; j * width < max_draft + 1; j++) {
        int32_t least = j * width < 11 ? 1 : (int32_t)floor((j * width - 2) / 4) + 1;
        double p = 1;
        for (int32_t i = 0; i < least; i++)
            p *= q;
        passes += p;
    }
    return passes;
}

double t3_passes(struct t3_hypothesis h, const double *shared, const double *own, double width)
{
    if (h.overflow == T3_CUT)
        return 1;
    if (h.overflow == T3_MATCHES)
        return passes_of_matches(shared[T3_MATCH] * (own[T3_ACCEPTED] - 1), shared[T3_MAX_DRAFT],
                                 width);
    return 1 + own[T3_OVERFLOW] * (ceil((shared[T3_MAX_DRAFT] + 1) / width) - 1);
}

/* NPU vanilla's ms for one token. */
static double alone_ms(struct t3_hypothesis h, const struct t3_times *t)
{
    if (h.decode == T3_DECODE_G1)
        return t->step_g1;
    return h.decode == T3_DECODE_ONE ? t->step_one : t->step_g2;
}

void t3_cells(struct t3_hypothesis h, const double *shared, const double *own,
              const struct t3_times *t, double *cell)
{
    double n = own[T3_OUTPUT], drafted = (n - 1) / own[T3_ACCEPTED];
    double base = t->prefill + t->exposed[h.replaces],
           g = t->prefill + (h.ideal ? 0 : t->progressive);
    bool wide = h.decode == T3_DECODE_G1;
    double alone = alone_ms(h, t), alone_g = wide ? t->step_g2 : alone;
    double sam_g = t3_passes(h, shared, own, t->g2) * t->step_g2 + shared[T3_DRAFT];
    double sam = wide ? t3_passes(h, shared, own, t->g1) * t->step_g1 + shared[T3_DRAFT] : sam_g;
    double calibration = h.calibration == T3_SERIAL ? shared[T3_CALIBRATE] * shared[T3_PROMPT] : 0;
    cell[T3_NPU] = (base + (n - 1) * alone) / n;
    cell[T3_G] = (g + (n - 1) * alone_g) / n;
    cell[T3_SD] = (base + drafted * sam) / n;
    cell[T3_G_SD] = (g + drafted * sam_g) / n;
    cell[T3_OURS] =
        (g + calibration + drafted / own[T3_GAIN] * (t->step_g2 + shared[T3_DRAFT])) / n;
}

void t3_derive(struct t3_hypothesis h, const double *shared, const double *own,
               const struct t3_times *t, const double *cell, double eagle_accepted, double *out)
{
    double n = own[T3_OUTPUT], steps = n - 1;
    double decode = steps * alone_ms(h, t);
    double ours = steps / own[T3_ACCEPTED] / own[T3_GAIN] * (t->step_g2 + shared[T3_DRAFT]);
    double eagle = t->prefill + t->exposed[h.replaces] +
                   steps / eagle_accepted * (t->step_g2 + ceil(eagle_accepted - 1) * t->step_draft);
    double saving = cell[T3_NPU] - cell[T3_G];
    out[T3_SAVING] = saving > 0 ? saving : 0;
    out[T3_PREFILL] = t->prefill / n;
    out[T3_SHARE] = decode / n / cell[T3_NPU];
    out[T3_REDUCTION] = decode / ours;
    out[T3_VS_NPU] = cell[T3_NPU] / cell[T3_OURS];
    out[T3_VS_SAM] = cell[T3_SD] / cell[T3_OURS];
    out[T3_VS_EAGLE] = eagle / n / cell[T3_OURS];
    out[T3_ORACLE] = (t->prefill + (h.ideal ? 0 : t->progressive) +
                      ceil(steps / t->g2) * (t->step_g2 + shared[T3_DRAFT])) /
                     n;
}
