/* llama.cpp as an engine: dynamic shapes, any device that ggml lists. With the probes, the micro
 * benchmarks and the quantiser, the only code that knows llama.cpp.
 *
 * Settings follow what makes greedy chains exact there: fixed n_ubatch, a build with
 * GGML_LLAMAFILE=OFF or flash attention. Whether they do on a given build and device is probed
 * (probe.h). */
#ifndef TANDEM_REAL_LLAMA_ENGINE_H
#define TANDEM_REAL_LLAMA_ENGINE_H

#include "sim/exec/engine.h"

/* The padding of attended cells in llama.cpp's cache when flash attention is off: the step time
 * depends on the context through ceil((context + width) / LLAMA_PAD). */
enum { LLAMA_PAD = 256 };

struct llama_options {
    const char *model;  /* path of a GGUF file */
    const char *device; /* a name from llama_devices; NULL or "CPU": the CPU */
    int32_t threads;    /* >= 1 */
    int32_t max_ctx;    /* tokens of all sequences together */
    int32_t max_rows;   /* rows of one step: n_batch and n_ubatch */
    int32_t max_seqs;
    int32_t max_branches; /* leaves of a draft tree */
    bool flash;           /* flash attention: other numerics; faster or slower by CPU and kernels */
    bool small_pages;     /* while it is created huge pages are refused (huge_pages.h) */
};

void llama_defaults(struct llama_options *o);

/* ERR_DEVICE when llama.cpp refuses; the message has its own last words. Before it is asked:
 * ERR_IO, ERR_CORRUPT with the offset, ERR_RANGE for a file, ERR_USAGE for a device that is not
 * there. */
int llama_engine_create(const struct llama_options *o, struct engine **out, struct err *e);

/* What a run needs to know of a model. */
struct llama_facts {
    char name[128];    /* "llama 135M Q4_0" as llama.cpp describes it */
    char numerics[64]; /* numerics_id: 16 hexadecimal digits */
    char version[128]; /* of llama.cpp and how it was built */
    int64_t model_bytes;
    bool huge_pages; /* its memory came with them: half of the weights and more */
    int32_t n_vocab, n_eos;
    int32_t eos[EXEC_MAX_EOS];
};

void llama_engine_facts(const struct engine *g, struct llama_facts *out);

/* Tokens of a prompt: special tokens are parsed, the model's own start token is added if it wants
 * one. Returns the number, or -1 when there are more than cap. */
int32_t llama_engine_tokenize(const struct engine *g, const char *text, size_t n, int32_t *token,
                              int32_t cap);

/* The logits of the last FORWARD's row i, [n_vocab]; for probes. Valid until the next job. */
const float *llama_engine_logits(const struct engine *g, int32_t row);

struct llama_device {
    char name[64], description[128], type[16];
    int64_t free_bytes, total_bytes;
};

/* Fills at most cap entries; returns how many devices there are. */
int32_t llama_devices(struct llama_device *out, int32_t cap);

/* Requantises a GGUF to pure Q4_0 by llama.cpp's own call. Writes to `out`.part and renames.
 * ERR_IO, ERR_CORRUPT, ERR_DEVICE. */
int llama_quantize(const char *in, const char *out, int32_t threads, struct err *e);

#endif
