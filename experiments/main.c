/* tandem: every command. */
#include "experiments/command.h"
#include "experiments/report_tasks.h"
#include "experiments/store.h"

/* In the order of --help, groups together. */
static const struct command *const commands[] = {
    &command_run,
    &command_validate,
    &command_reproduce,
    &command_profile,
    &command_observe,
    &command_quantize,
    &command_import,
    &command_list,
    &command_devices,
    &command_explain,
    &command_log,
    &command_bench,
    NULL,
};

int main(int argc, char **argv)
{
    static const struct program tandem = {
        .name = "tandem",
        .licence = "GPL-3.0-or-later as linked with GSL; the sources are Apache-2.0",
        .commands = commands,
        .open_store = store_sink,
        .report_tasks = report_tasks};
    return program_main(&tandem, argc, argv);
}
