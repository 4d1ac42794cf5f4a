/* tandem devices: what the engine of this build can run on. */
#include <inttypes.h>

#include "experiments/command.h"
#include "experiments/output.h"
#ifdef TANDEM_REAL
#include "hwmodels/real/llama_engine.h"
#endif

static const char *const columns[] = {"name", "type", "free MiB", "total MiB", "description", NULL};

static int32_t put_devices(struct output *o)
{
#ifdef TANDEM_REAL
    enum { MOST = 64 };
    static struct llama_device device[MOST];
    int32_t n = llama_devices(device, MOST);
    for (int32_t i = 0; i < n && i < MOST; i++) {
        output_text(o, device[i].name);
        output_text(o, device[i].type);
        output_int(o, device[i].free_bytes >> 20);
        output_int(o, device[i].total_bytes >> 20);
        output_text(o, device[i].description);
        output_end(o);
    }
    return n;
#else
    (void)o;
    return 0;
#endif
}

static int run(int argc, char **argv)
{
    static struct args a;
    struct output o;
    struct arena arena;
    struct err e = {0};
    int format, rc = args_parse(&command_devices, argc, argv, &a);
    if (rc != ARGS_GO_ON)
        return rc;
    if (arg_word(&a, "--format", output_formats, &format, &e))
        return command_fail(&e);
    arena_init(&arena);
    output_init(&o, &arena, columns);
    if (!put_devices(&o))
        fprintf(stderr,
                "%s: this build has no engine, so there are no devices: configure with "
                "the preset release\n",
                program->name);
    rc = output_print(&o, (enum output_format)format, stdout);
    arena_fini(&arena);
    return command_printed(rc);
}

static const struct option options[] = {{"--format", "FORMAT", "table", "table, csv or json", 0},
                                        {.name = NULL}};
static const char *const examples[] = {"devices", NULL};

const struct command command_devices = {
    .name = "devices",
    .group = "Look",
    .summary = "devices of this machine that a role can run on, with memory",
    .arguments = "",
    .options = options,
    .details = "A role map names them: 'target=CUDA0 draft=cpu:1'. Processor cores have names of\n"
               "their own: cpu (any core), cpu:N (pinned to core N), cpu:xN (N threads).",
    .examples = examples,
    .run = run};
