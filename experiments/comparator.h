/* Programs of llama.cpp that decode speculatively, to compare with: started for one prompt, and
 * their own clock read from what they print.
 *
 * Why their clock: it starts after the model is loaded and warmed up, as Tandem's request does, and
 * a whole process minus a load measured apart would add the noise of both. It is in their favour
 * by the time to index the prompt (llama-lookup), which comes before it. */
#ifndef TANDEM_EXPERIMENTS_COMPARATOR_H
#define TANDEM_EXPERIMENTS_COMPARATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/base/err.h"

enum comparator_tool { COMPARATOR_LOOKUP, COMPARATOR_SPECULATIVE, COMPARATOR_TOOLS };

/* Folders of `setup.sh comparators`: as llama.cpp chooses by itself; with the flags of our build;
 * with these and with our products of Q4_0, our attention and huge pages linked in (hwmodels/real).
 */
enum comparator_build { BUILD_STOCK, BUILD_FLAGS, BUILD_PRODUCTS, COMPARATOR_BUILDS };

extern const char *const comparator_tools[];  /* "llama-lookup", "llama-speculative-simple" */
extern const char *const comparator_builds[]; /* "stock", "flags", "products" */

/* One way to run one of them. */
struct comparator {
    enum comparator_tool tool;
    enum comparator_build build;
    bool flash; /* attention */
    int32_t max_draft;
};

/* What is asked. */
struct comparator_task {
    const char *dir;     /* with the folders of builds */
    const char *model;   /* GGUF */
    const char *draft;   /* GGUF of llama-speculative-simple's draft model */
    const char *prompt;  /* text, special tokens included */
    const char *scratch; /* a file that may be written */
    int32_t max_tokens, max_ctx;
    int32_t threads, core; /* core -1: threads are not pinned */
};

struct comparator_times {
    int32_t n_prompt, n_output;
    int32_t n_drafted, n_accepted;
    double prompt_ns, output_ns; /* of all n_output tokens */
};

/* Reads what a program printed. ERR_PARSE names the line that is missing. */
int comparator_parse(const char *text, struct comparator_times *out, struct err *e);

/* Starts it and waits. ERR_DEVICE with its last words when it failed, ERR_IO where it cannot be
 * started; the errors of comparator_parse. */
int comparator_run(const struct comparator *c, const struct comparator_task *task,
                   struct comparator_times *out, struct err *e);

/* Time to n output tokens: they overshoot what was asked by some of the last draft's. The first
 * token of llama-lookup comes with the prompt, that of the other one with the first step. */
double comparator_ns(const struct comparator_times *t, enum comparator_tool tool, int32_t n);

/* Runs `setup.sh VERB [ARGUMENT]` and writes the path that it prints. ERR_IO when it fails; its own
 * messages are on stderr then. */
int comparator_setup(const char *verb, const char *argument, char *path, size_t size,
                     struct err *e);

#endif
