/* Table 3 of sd.npu as a closed form: milliseconds per output token of one request under each of
 * five schemes, from what the paper left open.
 *
 *   T(w)   one pass of a static graph of width w:
 *            layers * layer_ms                              NPU-CPU edges
 *          + max(weight bytes / weight_gbps, FLOPs(w) / npu_tops)
 *          + layers * 4 * attention width * context * w / attention_gflops     on the CPU
 *   Pre    prefill: ceil(prompt / g1) * T(g1), without the LM head; context: half the prompt
 *   Ex     what loading the decode graph adds to Pre: `sync`, all of it after prefill;
 *          `last-chunk`, block by block behind the last chunk; +G, greedy (Eq. 1-2), its chunks on
 *          switched blocks as g1/g2 passes of G2. Load time is proportional to bytes
 *   Steps  (output - 1) of T for one token, (output - 1) / accepted of passes * T + draft_ms with
 *          drafts; `passes` is ceil(drafted / g2), in the mean
 *   cell   (Pre + Ex + calibration + Steps) / output, as audit's check 1 has it
 *
 * Parameters of device and scheme are one number for all models; output length, acceptance and
 * overflow belong to a model. What stays open in kind is a hypothesis: a set of its own. */
#ifndef TANDEM_EXPERIMENTS_TABLE3_H
#define TANDEM_EXPERIMENTS_TABLE3_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/base/arena.h"
#include "sim/base/err.h"

enum { T3_Q15, T3_Q05, T3_L3, T3_MODELS };
enum { T3_NPU, T3_G, T3_SD, T3_G_SD, T3_OURS, T3_CELLS };

/* ---- unknowns ------------------------------------------------------------------------------- */

/* Of device and scheme. */
enum t3_shared {
    T3_PROMPT,    /* tokens */
    T3_G1,        /* rows of the prefill graph */
    T3_RATIO,     /* g1 / g2 */
    T3_BLOCKS,    /* that the graphs are cut into */
    T3_BYTES,     /* of a weight */
    T3_LAYER,     /* ms a layer, whatever the width */
    T3_WEIGHTS,   /* GB/s that a pass reads weights with */
    T3_NPU_RATE,  /* TFLOP/s of the NPU's products */
    T3_ATTENTION, /* GFLOP/s of attention on the CPU */
    T3_LOAD,      /* s to load the decode graph of Qwen2.5-1.5B */
    T3_STALL,     /* no k satisfies Eq. 1: 0 wait, 1 start the load and stall */
    T3_DRAFT,     /* ms a step */
    T3_CALIBRATE, /* ms a prompt token; `serial` */
    T3_MAX_DRAFT, /* tokens that the suffix automaton drafts at most; `matches`, `free` */
    T3_MATCH,     /* length of a match per token accepted from it; `matches` */
    T3_SHARED
};

/* Of a model. */
enum t3_own {
    T3_OUTPUT,   /* tokens */
    T3_ACCEPTED, /* tokens per verification of NPU-SAM; 1.5B's is published */
    T3_GAIN,     /* of Ours over NPU-SAM in it; 1.5B's is published */
    T3_OVERFLOW, /* 0 every draft fits g2, 1 every draft is the longest; `free` */
    T3_OWN
};

struct t3_unknown {
    const char *unit;
    const char *source;
    bool log;          /* uniform in its logarithm */
    int32_t n_choices; /* 0: low..high */
    double low, high, choice[8];
    double span; /* log: the logarithm of high / low */
};

/* What is true is not known; each combination is a set of its own. */
enum t3_decode { T3_DECODE_G2, T3_DECODE_ONE, T3_DECODE_G1 }; /* NPU vanilla's decode graph */
enum t3_replaces { T3_SYNC, T3_LAST_CHUNK, T3_NO_SWITCH };    /* the switch that +G replaces */
enum t3_calibration { T3_OVERLAPPED, T3_SERIAL };
enum t3_overflow { T3_CUT, T3_MATCHES, T3_FREE }; /* of drafts wider than the graph */

struct t3_hypothesis {
    enum t3_decode decode;
    enum t3_replaces replaces;
    enum t3_calibration calibration;
    enum t3_overflow overflow;
    bool ideal; /* +G hides every load, however short the prompt: not physical, and in no list */
};

enum { T3_HYPOTHESES = 30 };

/* The i-th of all that make sense: G1 decodes without a switch, and nothing else does. */
struct t3_hypothesis t3_hypothesis_at(int32_t i);

/* "decode g2, replaces sync, calibration overlapped, overflow free"; returns buf. */
const char *t3_hypothesis_format(struct t3_hypothesis h, char *buf, size_t size);

/* Whether a hypothesis has a use for it. */
bool t3_uses_shared(struct t3_hypothesis h, enum t3_shared u);
bool t3_uses_own(struct t3_hypothesis h, enum t3_own u, int32_t model);

extern const char *const t3_shared_name[T3_SHARED], *const t3_own_name[T3_OWN],
                                                        *const t3_cell_name[T3_CELLS];

/* ---- the file ------------------------------------------------------------------------------- */

struct t3_model {
    const char *name;
    int32_t layers;
    double attention;     /* query heads * their width */
    double linear_params; /* of all layers */
    double head_params;
};

struct table3 {
    struct t3_model model[T3_MODELS];
    double cell[T3_MODELS][T3_CELLS]; /* published, ms/token */
    double accepted, gain;            /* of 1.5B: Table 4 */
    double eagle_accepted;
    int32_t tolerance_pct[2];
    struct t3_hypothesis as_written; /* of reading (i), with these shapes; the rest is drawn */
    double written_g1, written_ratio, written_blocks;
    struct t3_unknown shared[T3_SHARED], own[T3_OWN];
};

/* Reads experiments/published/table3.yaml; strings live in the arena. Errors name
 * file:line:column. */
int table3_read(const char *path, struct table3 *out, struct arena *arena, struct err *e);

/* ---- the closed form ------------------------------------------------------------------------ */

/* The value at coordinate u of an unknown's range; below 0 or from 1 on, beyond it. */
double t3_value(const struct t3_unknown *k, double u);

/* What a model's cells are made of under one choice of shared unknowns; ms. */
struct t3_times {
    double prefill;     /* without a switch */
    double exposed[3];  /* by enum t3_replaces: what switching adds; 0 for T3_NO_SWITCH */
    double progressive; /* what +G adds; below 0 never */
    double step_one, step_g2, step_g1, step_draft; /* step_draft: one layer and the head */
    double g1, g2;
};

void t3_times_of(const struct t3_model *m, const struct t3_model *base, const double *shared,
                 struct t3_times *out);

/* Its two halves: all but `progressive`, which NPU and +SD need not and which takes longest. */
void t3_times_before(const struct t3_model *m, const struct t3_model *base, const double *shared,
                     struct t3_times *out);
void t3_times_progressive(const struct t3_model *m, const struct t3_model *base,
                          const double *shared, struct t3_times *out);

/* Mean passes of a SAM draft. */
double t3_passes(struct t3_hypothesis h, const double *shared, const double *own, double width);

/* What follows from a model's cells, beside them. */
enum t3_derived {
    T3_SAVING,    /* NPU - (+G), ms/token; not below 0 */
    T3_PREFILL,   /* ms/token, without a switch */
    T3_SHARE,     /* of decode in NPU */
    T3_REDUCTION, /* of decode time, NPU over Ours */
    T3_VS_NPU,    /* NPU / Ours */
    T3_VS_SAM,    /* +SD / Ours */
    T3_VS_EAGLE,  /* NPU-EAGLE / Ours; a draft token is a pass of one layer and the head */
    T3_ORACLE,    /* ms/token of +G, were every row of every pass accepted: the bound of Ours */
    T3_DERIVED
};

/* `eagle_accepted` is the paper's fixed acceptance; a draft has just that many tokens. */
void t3_derive(struct t3_hypothesis h, const double *shared, const double *own,
               const struct t3_times *t, const double *cell, double eagle_accepted, double *out);

/* All five cells, ms per output token. */
void t3_cells(struct t3_hypothesis h, const double *shared, const double *own,
              const struct t3_times *t, double *cell);

enum { T3_MAX_BLOCKS = 64 };

/* What prefill and greedy switching (Eq. 1-2) take: `chunks` of `blocks` blocks, each g1_ms on G1
 * and g2_ms on G2 for a whole chunk; a block loads in load_ms. The last block not yet switched
 * loads while the next k of the same chunk run, k the least that covers the load. Where no k does:
 * stall begins the load and lets the block wait for it, otherwise the load waits for a better
 * moment. A block that the prompt is done with loads at once, and what is not loaded by the end
 * then: as the policy switching does with scheme=progressive, begin=first, window=chunk,
 * stall=block. */
double t3_progressive_ms(int32_t blocks, int32_t chunks, double g1_ms, double g2_ms, double load_ms,
                         bool stall);

/* The same when block b may load only after it has run in the last chunk. */
double t3_last_chunk_ms(int32_t blocks, int32_t chunks, double g1_ms, double load_ms);

#endif
