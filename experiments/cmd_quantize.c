/* tandem quantize: a model's weights as pure Q4_0. */
#include "experiments/command.h"
#ifdef TANDEM_REAL
#include "hwmodels/real/llama_engine.h"
#endif

static int quantize(const char *in, const char *out, int32_t threads, struct err *e)
{
#ifdef TANDEM_REAL
    return llama_quantize(in, out, threads, e);
#else
    (void)out;
    (void)threads;
    return err_at(e, ERR_UNSUPPORTED, in, 0, 0,
                  "this build has no engine for models: configure with the preset release");
#endif
}

static int run(int argc, char **argv)
{
    static struct args a;
    struct err e = {0};
    int64_t threads = 1;
    int rc = args_parse(&command_quantize, argc, argv, &a);
    if (rc != ARGS_GO_ON)
        return rc;
    const struct command_file file[] = {{"IN.gguf", a.arg[0], false}, {"OUT.gguf", a.arg[1], true}};
    if (arg_int(&a, "--threads", 1, 1024, &threads, &e) || command_distinct(file, 2, &e) ||
        quantize(a.arg[0], a.arg[1], (int32_t)threads, &e))
        return command_fail(&e);
    return command_end();
}

static const struct option options[] = {{"--threads", "N", "2", "that share the work", 0},
                                        {.name = NULL}};

static const char *const examples[] = {
    "real: quantize ${TANDEM_DEPS:-~/.cache/tandem}/models/SmolLM2-135M-Instruct.Q4_1.gguf "
    "out/pure-Q4_0.gguf",
    NULL};

const struct command command_quantize = {
    .name = "quantize",
    .group = "Prepare",
    .summary = "requantise a GGUF model to pure Q4_0, by llama.cpp's own call",
    .arguments = "IN.gguf OUT.gguf",
    .min_args = 2,
    .max_args = 2,
    .options = options,
    .examples = examples,
    .run = run};
