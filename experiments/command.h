/* Commands: their table, their options, and how they end.
 *
 * A command is a `const struct command`, defined in its own file. What --help prints and what the
 * parser takes come from the same tables. Adding one: a file cmd_NAME.c with
 *
 *     static int run(int argc, char **argv) { ... args_parse(&command_NAME, argc, argv, &a) ... }
 *     const struct command command_NAME = {...};
 *
 * a declaration below, a line in CMakeLists.txt, and a line in the table of main.c (and of
 * device_main.c when it links neither GSL nor SQLite). */
#ifndef TANDEM_EXPERIMENTS_COMMAND_H
#define TANDEM_EXPERIMENTS_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/base/err.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum option_flags {
    OPTION_REPEATS = 1, /* may be given several times; otherwise twice is an error */
    OPTION_HIDDEN = 2,  /* not in --help */
    OPTION_FULL = 4     /* needs what tandem-device lacks: not in its --help */
};

/* At most n times, 1 to 255: more is refused, not passed over. */
#define OPTION_REPEATS_TO(n) (OPTION_REPEATS | (unsigned)(n) << 8)

struct option {
    const char *name;  /* "--seed" */
    const char *value; /* what stands for its value in --help; NULL: a flag, without one */
    const char *def;   /* used, and shown, when it is not given; NULL: none */
    const char *help;
    unsigned flags; /* enum option_flags; OPTION_REPEATS_TO */
};

struct command {
    const char *name, *group;
    const char *summary;               /* one line */
    const char *arguments;             /* as --help shows them: "EXPERIMENT.yaml"; "" */
    int min_args, max_args;            /* how many arguments without dashes */
    const struct option *options;      /* ends with a NULL name; NULL: none */
    const char *details;               /* paragraphs for --help; NULL */
    const char *const *examples;       /* command lines, each without the program's name, which
                                          tests/test_examples.sh runs: "run experiments/quickstart.yaml".
                                          NULL-terminated or NULL. Those that begin with "real: " need a
                                          model. */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns an exit code */
};

extern const struct command command_run, command_list, command_devices, command_quantize,
    command_log, command_import, command_bench, command_profile, command_observe, command_validate,
    command_reproduce, command_explain;

/* ---- programs ------------------------------------------------------------------------------- */

struct run_report;
struct run_sink;

struct program {
    const char *name;                      /* "tandem" */
    const char *licence;                   /* of the program as linked */
    const struct command *const *commands; /* NULL-terminated, in the order of --help */
    /* Opens a sink that stores runs (run.h); NULL in a program without a store. */
    int (*open_store)(const char *path, struct run_sink *out, struct err *e);
    /* Prints a report by task, in an output format (output.h); NULL in a program without GSL. */
    int (*report_tasks)(const struct run_report *r, int format, FILE *f, struct err *e);
};

/* The program that is running; set by program_main. */
extern const struct program *program;

/* What main does: finds the command and runs it. Returns the exit code. */
int program_main(const struct program *p, int argc, char **argv);

/* Path of the executable that is running, to start it again. */
const char *program_path(void);

/* Where a file that comes with Tandem is: `relative` ("traces/workloads/ui.jsonl") under the
 * working directory, else under the folder above the executable's own (build/tandem: the clone).
 * Writes its path to buf and returns true; false when it is in neither place, or the path does not
 * fit: buf then holds `relative`, for a message. */
bool command_shipped(const char *relative, char *buf, size_t size);

struct dirent;

/* The *.yaml files of a folder that comes with Tandem, sorted: their number, or -1 when there is no
 * such folder. `folder` gets where it is. The list and its entries are malloc'ed, the caller's. */
int command_yaml_files(const char *relative, char *folder, size_t size, struct dirent ***file);

/* Version of Tandem, and the commit of its sources ("-dirty" when they were altered, "unknown"
 * outside a clone). */
extern const char *const tandem_version, *const tandem_commit;

/* This machine: system, release, architecture, and its processor's name where the system has one;
 * not what it is called. Returns buf. */
const char *command_host(char *buf, size_t size);

/* ---- arguments ------------------------------------------------------------------------------ */

enum { ARGS_MAX = 256 };

struct args {
    const struct command *command;
    int n; /* without dashes */
    const char *arg[ARGS_MAX];
    int n_given;
    struct {
        const struct option *option;
        const char *value;
    } given[ARGS_MAX];
};

enum { ARGS_GO_ON = -1 };

/* Takes the command line apart: "--seed 7" or "--seed=7", "--" ends options, and --help is always
 * there. Returns ARGS_GO_ON, or the exit code after help or a message was printed. */
int args_parse(const struct command *c, int argc, char **argv, struct args *out);

/* The value given last, else the default, else NULL. The option must be in the command's table. */
const char *arg_text(const struct args *a, const char *option);

/* Whether it was given. */
bool arg_given(const struct args *a, const char *option);

/* Its values in order, at most max; returns their number. */
int arg_all(const struct args *a, const char *option, const char **value, int max);

/* A whole number in [min, max] from the value or the default; *out is untouched where there is
 * neither. ERR_USAGE. */
int arg_int(const struct args *a, const char *option, int64_t min, int64_t max, int64_t *out,
            struct err *e);

/* ERR_USAGE, with a message that names both, when both were given. */
int args_exclusive(const struct args *a, const char *one, const char *other, struct err *e);

/* Index of the value in a NULL-terminated list of words; 0 where there is neither value nor
 * default. ERR_USAGE. */
int arg_word(const struct args *a, const char *option, const char *const *word, int *out,
             struct err *e);

/* ---- messages ------------------------------------------------------------------------------- */

/* Prints "tandem: file:line:col: message" to stderr and returns the exit code: EXIT_USAGE for
 * ERR_USAGE, else EXIT_FAILED. Where standard output failed, that is said instead. */
int command_fail(const struct err *e);

/* The same from a format. */
int command_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whether a file can be made at the path: asked before what takes long. NULL is fine. ERR_IO. */
int command_can_write(const char *path, struct err *e);

/* Makes the folder `out` of default outputs where the path is in it; true when it was not there.
 * That it cannot be made is said when the file is opened. */
bool command_make_out(const char *path);

/* A file that a command line names, by an option or as an argument ("IN.gguf"). */
struct command_file {
    const char *option, *path; /* path NULL: not named */
    bool is_output;
};

/* ERR_USAGE, naming both, when an output is also another entry's file: by the same text, the same
 * file, or the same name in the same folder. Asked before anything is opened. */
int command_distinct(const struct command_file *file, int n, struct err *e);

/* Flushes stdout; EXIT_FAILED with a message when what was printed could not be written. */
int command_end(void);

/* The same after printing, which came to `rc`: an error is said. */
int command_printed(int rc);

#endif
