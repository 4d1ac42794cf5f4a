/* tandem log: a recorded run as text, as rows, as a picture's data. */
#include <errno.h>
#include <string.h>

#include "experiments/command.h"
#include "sim/base/io.h"
#include "traces/export.h"

static int perfetto(const char *log, const char *path, struct err *e)
{
    struct log_reader *r;
    struct io_out out;
    int rc = log_open(log, &r, e);
    if (rc)
        return rc;
    rc = io_out_open(&out, path, e);
    if (!rc) {
        rc = export_perfetto(r, out.file, e);
        if (rc && ferror(out.file))
            snprintf(e->file, sizeof e->file, "%s", path);
        int end = io_out_close(&out, !rc, rc ? NULL : e);
        rc = rc ? rc : end;
    }
    log_close_reader(r);
    return rc;
}

static int export_to(FILE *f, const char *log, bool csv, int32_t max_items, struct err *e)
{
    struct log_reader *r;
    int rc = log_open(log, &r, e);
    if (rc)
        return rc;
    rc = csv ? export_csv(r, f, e) : export_text(r, f, max_items, e);
    log_close_reader(r);
    return rc;
}

/* The exports find out what a log lacks where it lacks it: the first time goes nowhere, so that of
 * a damaged log nothing is printed. */
static int print(const char *log, bool csv, int32_t max_items, struct err *e)
{
    FILE *nowhere = fopen("/dev/null", "w");
    if (!nowhere)
        return err_at(e, ERR_IO, "/dev/null", 0, 0, "cannot write: %s", err_system(errno));
    int rc = export_to(nowhere, log, csv, max_items, e);
    fclose(nowhere);
    if (rc)
        return rc;
    rc = export_to(stdout, log, csv, max_items, e);
    if (rc && ferror(stdout))
        snprintf(e->file, sizeof e->file, "standard output");
    return rc;
}

static int run(int argc, char **argv)
{
    static struct args a;
    static const char *const formats[] = {"text", "csv", NULL};
    struct err e = {0};
    int64_t items = 0;
    int format, rc = args_parse(&command_log, argc, argv, &a);
    if (rc != ARGS_GO_ON)
        return rc;
    rc = arg_word(&a, "--format", formats, &format, &e);
    if (!rc)
        rc = arg_int(&a, "--items", 0, INT32_MAX, &items, &e);
    const char *picture = arg_text(&a, "--perfetto");
    const struct command_file file[] = {{"FILE", a.arg[0], false}, {"--perfetto", picture, true}};
    if (!rc)
        rc = command_distinct(file, 2, &e);
    if (rc)
        return command_fail(&e);
    if (picture)
        rc = perfetto(a.arg[0], picture, &e);
    if (!rc && (!picture || arg_given(&a, "--format")))
        rc = print(a.arg[0], format == 1, (int32_t)items, &e);
    if (rc && !e.file[0])
        snprintf(e.file, sizeof e.file, "%s", a.arg[0]);
    return rc ? command_fail(&e) : command_end();
}

static const struct option options[] = {
    {"--format", "FORMAT", "text", "text: a line per record; csv: a row per step", 0},
    {"--items", "N", "8", "items of an array that text shows", 0},
    {"--perfetto", "OUT.json", NULL,
     "write this file for Perfetto: processors, bus and requests as tracks", 0},
    {.name = NULL}};

static const char *const examples[] = {
    "log out/logs/01-lookup_max_draft_3-seed1-rep0.log --format csv",
    "log out/logs/01-lookup_max_draft_3-seed1-rep0.log --perfetto out/trace.json", NULL};

const struct command command_log = {
    .name = "log",
    .group = "Look",
    .summary = "print a recorded run",
    .arguments = "FILE",
    .min_args = 1,
    .max_args = 1,
    .options = options,
    .details =
        "`run --log DIR` records; `run --on replay:FILE` plays back. Of a log that was cut off or\n"
        "damaged nothing is printed or written: the error says where.",
    .examples = examples,
    .run = run};
