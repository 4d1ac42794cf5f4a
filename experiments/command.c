#include "experiments/command.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "sim/base/io.h"

const struct program *program;
static char self[4096];

/* ---- messages ------------------------------------------------------------------------------- */

int command_fail(const struct err *e)
{
    char text[1200];
    if (fflush(stdout) || ferror(stdout))
        return command_end();
    fprintf(stderr, "%s: %s\n", program->name, err_format(e, text, sizeof text));
    return e->code == ERR_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

int command_usage(const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "%s: ", program->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return EXIT_USAGE;
}

int command_can_write(const char *path, struct err *e)
{
    struct io_out out;
    int rc = path ? io_out_open(&out, path, e) : ERR_OK;
    return rc || !path ? rc : io_out_close(&out, false, e);
}

const char *command_host(char *buf, size_t size)
{
    struct utsname u;
    char line[256], name[128] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && !*name && fgets(line, sizeof line, f))
        sscanf(line, "model name : %127[^\n]", name);
    if (f)
        fclose(f);
    if (uname(&u) < 0)
        return memcpy(buf, "unknown", sizeof "unknown");
    snprintf(buf, size, "%s %s %s%s%s", u.sysname, u.release, u.machine, *name ? ", " : "", name);
    return buf;
}

bool command_make_out(const char *path)
{
    return path && !strncmp(path, "out/", 4) && !mkdir("out", 0777);
}

/* The folder that a path is in; false when there is none. *name is the rest of the path. */
static bool folder_of(const char *path, const char **name, struct stat *st)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 0;
    *name = path + n;
    if (n >= sizeof folder)
        return false;
    memcpy(folder, path, n);
    folder[n] = 0;
    return !stat(n ? folder : ".", st);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    const char *name_a, *name_b;
    if (!strcmp(a, b))
        return true;
    if (!stat(a, &x) && !stat(b, &y))
        return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
    return folder_of(a, &name_a, &x) && folder_of(b, &name_b, &y) && !strcmp(name_a, name_b) &&
           x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int command_distinct(const struct command_file *file, int n, struct err *e)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) {
            const struct command_file *a = &file[j], *b = &file[i];
            if ((a->is_output || b->is_output) && a->path && b->path && same_file(a->path, b->path))
                return err_set(e, ERR_USAGE,
                               "%s %s and %s %s are the same file, which would be overwritten: "
                               "name another for one of them",
                               a->option, a->path, b->option, b->path);
        }
    return ERR_OK;
}

int command_end(void)
{
    if (!fflush(stdout) && !ferror(stdout))
        return EXIT_OK;
    fprintf(stderr, "%s: standard output: %s\n", program->name, err_system(errno));
    return EXIT_FAILED;
}

int command_printed(int rc)
{
    struct err e = {0};
    if (!rc)
        return command_end();
    err_set(&e, rc, "%s", err_text(rc));
    return command_fail(&e);
}

const char *program_path(void)
{
    return self;
}

bool command_shipped(const char *relative, char *buf, size_t size)
{
    const char *slash = strrchr(self, '/');
    snprintf(buf, size, "%s", relative);
    if (!access(relative, R_OK))
        return strlen(relative) < size;
    int folder = slash ? (int)(slash - self) + 1 : 0;
    int n = snprintf(buf, size, "%.*s../%s", folder, self, relative);
    if (slash && n > 0 && (size_t)n < size && !access(buf, R_OK))
        return true;
    snprintf(buf, size, "%s", relative);
    return false;
}

static int is_yaml(const struct dirent *file)
{
    size_t n = strlen(file->d_name);
    return n > 5 && !strcmp(file->d_name + n - 5, ".yaml");
}

int command_yaml_files(const char *relative, char *folder, size_t size, struct dirent ***file)
{
    *file = NULL;
    return command_shipped(relative, folder, size) ? scandir(folder, file, is_yaml, alphasort) : -1;
}

/* ---- the close one -------------------------------------------------------------------------- */

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Insertions, deletions and changes from a to b (Levenshtein); of at most 31 characters. */
static int distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    int row[MAX], n = (int)strlen(b);
    if (n >= MAX || strlen(a) >= MAX)
        return MAX;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[n];
}

/* Keeps `name` in *best when it is closer to `given`; what differs in more than a third is not. */
static void consider(const char *given, const char *name, const char **best, int *best_distance)
{
    int d = distance(given, name), allowed = 1 + (int)strlen(name) / 3;
    bool begins = strlen(given) > 2 && !strncmp(name, given, strlen(given));
    if (begins)
        d = 1;
    if (d <= allowed && d < *best_distance) {
        *best = name;
        *best_distance = d;
    }
}

/* ---- help ----------------------------------------------------------------------------------- */

/* How often an option may be given; 0: as often as one likes, if it repeats. */
static unsigned most_times(const struct option *o)
{
    return o->flags >> 8;
}

/* Words from column `at` on, later lines from `indent` on; a line feed stays one. */
static void print_wrapped(const char *text, int at, int indent)
{
    enum { WIDTH = 96 };
    for (const char *gap = ""; *text;) {
        int n = (int)strcspn(text, " \n");
        bool fits = at + (int)strlen(gap) + n <= WIDTH;
        if (!fits)
            printf("\n%*s", indent, "");
        at = (fits ? at : indent) + printf("%s%.*s", fits ? gap : "", n, text);
        text += n;
        gap = *text == ' ' ? " " : "";
        if (*text == '\n') {
            printf("\n%*s", indent, "");
            at = indent;
        }
        text += *text != 0;
    }
    putchar('\n');
}

static void print_option(const struct option *o)
{
    enum { COLUMN = 25 };
    char head[64], text[600], times[32] = " (may be repeated)";
    int at = snprintf(head, sizeof head, "  %s%s%s", o->name, o->value ? " " : "",
                      o->value ? o->value : "");
    if (most_times(o))
        snprintf(times, sizeof times, " (up to %u times)", most_times(o));
    snprintf(text, sizeof text, "%s%s%s%s%s", o->help, o->def ? " (default: " : "",
             o->def ? o->def : "", o->def ? ")" : "", o->flags & OPTION_REPEATS ? times : "");
    if (at < COLUMN)
        printf("%-*s", COLUMN, head);
    else
        printf("%s\n%*s", head, COLUMN, "");
    print_wrapped(text, COLUMN, COLUMN);
}

static void print_options(const struct option *o)
{
    static const struct option help = {"--help", NULL, NULL, "this text", 0};
    for (; o && o->name; o++)
        if (!(o->flags & OPTION_HIDDEN) && (!(o->flags & OPTION_FULL) || program->open_store))
            print_option(o);
    print_option(&help);
}

static int print_command_help(const struct command *c)
{
    printf("Usage: %s %s [OPTIONS]%s%s\n\n%s\n\nOptions:\n", program->name, c->name,
           c->arguments[0] ? " " : "", c->arguments, c->summary);
    print_options(c->options);
    if (c->details) {
        putchar('\n');
        print_wrapped(c->details, 0, 0);
    }
    if (c->examples)
        putchar('\n');
    for (const char *const *x = c->examples; x && *x; x++) {
        bool real = !strncmp(*x, "real: ", 6);
        printf("Example%s: %s %s\n", real ? " (needs a model)" : "", program->name,
               real ? *x + 6 : *x);
    }
    return command_end();
}

static int print_help(void)
{
    printf("Usage: %s COMMAND [OPTIONS] [ARGUMENTS]\n\n"
           "Simulates on-device language-model inference with speculative decoding, and runs the\n"
           "same policies on real devices.\n",
           program->name);
    const char *group = "";
    for (const struct command *const *c = program->commands; *c; c++) {
        if (strcmp(group, (*c)->group))
            printf("\n%s:\n", (*c)->group);
        group = (*c)->group;
        printf("  %-10s %s\n", (*c)->name, (*c)->summary);
    }
    printf("\nOther:\n  %-10s %s\n  %-10s %s\n\n"
           "`%s COMMAND --help` has a command's options, their defaults and examples.\n"
           "Results go to standard output, messages to standard error. Exit status: 0 done,\n"
           "1 failed, 2 wrong usage.\n",
           "--help", "this text", "--version", "version and licence", program->name);
    return command_end();
}

static int print_version(void)
{
    printf("%s %s (%s)\nLicence: %s\n", program->name, tandem_version, tandem_commit,
           program->licence);
    return command_end();
}

/* ---- arguments ------------------------------------------------------------------------------ */

static const struct option *find_option(const struct command *c, const char *name, size_t n)
{
    for (const struct option *o = c->options; o && o->name; o++)
        if (strlen(o->name) == n && !memcmp(o->name, name, n))
            return o;
    return NULL;
}

static int unknown_option(const struct command *c, const char *text, size_t n)
{
    char given[64];
    const char *best = NULL;
    int best_distance = 1000;
    snprintf(given, sizeof given, "%.*s", (int)n, text);
    for (const struct option *o = c->options; o && o->name; o++)
        if (!(o->flags & OPTION_HIDDEN))
            consider(given, o->name, &best, &best_distance);
    consider(given, "--help", &best, &best_distance);
    if (best)
        return command_usage("unknown option '%s' of '%s': did you mean '%s'?", given, c->name,
                             best);
    return command_usage("unknown option '%s' of '%s': `%s %s --help` lists them", given, c->name,
                         program->name, c->name);
}

/* One option at argv[*i]; steps over its value. */
static int take_option(const struct command *c, int argc, char **argv, int *i, struct args *out)
{
    const char *text = argv[*i];
    size_t n = strcspn(text, "=");
    const struct option *o = find_option(c, text, n);
    if (!o)
        return unknown_option(c, text, n);
    if (!o->value && text[n])
        return command_usage("option '%s' takes no value", o->name);
    if (o->value && !text[n] && *i + 1 == argc)
        return command_usage("option '%s' needs a value: %s %s", o->name, o->name, o->value);
    if (!(o->flags & OPTION_REPEATS) && arg_given(out, o->name))
        return command_usage("option '%s' was given twice: remove one of them", o->name);
    unsigned times = 0;
    for (int k = 0; k < out->n_given; k++)
        times += out->given[k].option == o;
    if (most_times(o) && times == most_times(o))
        return command_usage("option '%s' was given more than %u times, the limit here", o->name,
                             times);
    if (out->n_given == ARGS_MAX)
        return command_usage("more than %d options", ARGS_MAX);
    out->given[out->n_given].option = o;
    out->given[out->n_given++].value = !o->value ? NULL : text[n] ? text + n + 1 : argv[++*i];
    return ARGS_GO_ON;
}

int args_parse(const struct command *c, int argc, char **argv, struct args *out)
{
    *out = (struct args){.command = c};
    bool options = true;
    for (int i = 1; i < argc; i++) {
        if (options && !strcmp(argv[i], "--")) {
            options = false;
        } else if (options && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
            return print_command_help(c);
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            int rc = take_option(c, argc, argv, &i, out);
            if (rc != ARGS_GO_ON)
                return rc;
        } else if (out->n == c->max_args || out->n == ARGS_MAX) {
            return command_usage("unexpected argument '%s': expected %s %s %s", argv[i],
                                 program->name, c->name,
                                 c->arguments[0] ? c->arguments : "without arguments");
        } else {
            out->arg[out->n++] = argv[i];
        }
    }
    if (out->n < c->min_args)
        return command_usage("too few arguments: expected %s %s %s", program->name, c->name,
                             c->arguments);
    return ARGS_GO_ON;
}

bool arg_given(const struct args *a, const char *option)
{
    assert(find_option(a->command, option, strlen(option)) && "option of the command's table");
    for (int i = 0; i < a->n_given; i++)
        if (!strcmp(a->given[i].option->name, option))
            return true;
    return false;
}

const char *arg_text(const struct args *a, const char *option)
{
    const struct option *o = find_option(a->command, option, strlen(option));
    assert(o && o->value && "option of the command's table, with a value");
    const char *value = o->def;
    for (int i = 0; i < a->n_given; i++)
        if (a->given[i].option == o)
            value = a->given[i].value;
    return value;
}

int arg_all(const struct args *a, const char *option, const char **value, int max)
{
    int n = 0;
    for (int i = 0; i < a->n_given; i++)
        if (!strcmp(a->given[i].option->name, option) && n < max)
            value[n++] = a->given[i].value;
    return n;
}

int arg_int(const struct args *a, const char *option, int64_t min, int64_t max, int64_t *out,
            struct err *e)
{
    const char *text = arg_text(a, option);
    if (!text)
        return ERR_OK;
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < min || v > max)
        return err_set(e, ERR_USAGE,
                       "%s is '%s': expected a whole number from %" PRId64 " to %" PRId64, option,
                       text, min, max);
    *out = v;
    return ERR_OK;
}

int args_exclusive(const struct args *a, const char *one, const char *other, struct err *e)
{
    if (!arg_given(a, one) || !arg_given(a, other))
        return ERR_OK;
    return err_set(e, ERR_USAGE, "%s and %s do not go together: remove one of them", one, other);
}

int arg_word(const struct args *a, const char *option, const char *const *word, int *out,
             struct err *e)
{
    const char *text = arg_text(a, option);
    char list[256] = "";
    *out = 0;
    for (int i = 0; text && word[i]; i++) {
        if (!strcmp(word[i], text)) {
            *out = i;
            return ERR_OK;
        }
        err_list(list, sizeof list, word[i]);
    }
    return text ? err_set(e, ERR_USAGE, "%s is '%s': expected one of %s", option, text, list)
                : ERR_OK;
}

/* ---- programs ------------------------------------------------------------------------------- */

/* Where this program lies, so that it can start itself again. */
static void find_self(const char *argv0)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0)
        self[n] = 0;
    else
        snprintf(self, sizeof self, "%s", argv0);
}

static int unknown_command(const char *given)
{
    const char *best = NULL;
    int best_distance = 1000;
    for (const struct command *const *c = program->commands; *c; c++)
        consider(given, (*c)->name, &best, &best_distance);
    if (best)
        return command_usage("unknown command '%s': did you mean '%s'?", given, best);
    return command_usage("unknown command '%s': `%s --help` lists them", given, program->name);
}

int program_main(const struct program *p, int argc, char **argv)
{
    program = p;
    find_self(argc ? argv[0] : p->name);
    if (argc < 2)
        return command_usage("no command: `%s --help` lists them", p->name);
    if (!strcmp(argv[1], "--version"))
        return print_version();
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return print_help();
    for (const struct command *const *c = p->commands; *c; c++)
        if (!strcmp((*c)->name, argv[1]))
            return (*c)->run(argc - 1, argv + 1);
    return unknown_command(argv[1]);
}
