/* tandem-device: what is copied to a phone. Links neither GSL nor SQLite. */
#include "experiments/command.h"

/* In the order of --help, groups together. */
static const struct command *const commands[] = {
    &command_run, &command_profile, &command_observe, &command_quantize, &command_devices, NULL,
};

int main(int argc, char **argv)
{
    static const struct program device = {
        .name = "tandem-device", .licence = "Apache-2.0", .commands = commands};
    return program_main(&device, argc, argv);
}
