#include "experiments/comparator.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "experiments/command.h"
#include "sim/base/io.h"

extern char **environ;

enum { MAX_ARGS = 48, MAX_PRINTED = 1 << 20 };

const char *const comparator_tools[] = {"llama-lookup", "llama-speculative-simple", NULL};
const char *const comparator_builds[] = {"stock", "flags", "products", NULL};

/* ---- what they print ------------------------------------------------------------------------ */

/* "encoded  204 tokens in    5.711 seconds", wherever it stands: after the last `what`, because the
 * text that was asked for may hold the word. */
static int read_times(const char *text, const char *what, int32_t *n, double *ns, struct err *e)
{
    const char *at = NULL, *next = text;
    while ((next = strstr(next, what))) {
        int tokens;
        double s;
        if (sscanf(next + strlen(what), " %d tokens in %lf seconds", &tokens, &s) == 2) {
            *n = tokens;
            *ns = s * 1e9;
            at = next;
        }
        next += strlen(what);
    }
    if (!at || *n < 1 || !(*ns > 0))
        return err_set(e, ERR_PARSE,
                       "no line '%s N tokens in S seconds' in what llama.cpp's program printed",
                       what);
    return ERR_OK;
}

static int read_count(const char *text, const char *what, int32_t *n, struct err *e)
{
    const char *next = text;
    bool found = false;
    while ((next = strstr(next, what))) {
        int value;
        next += strlen(what);
        if (sscanf(next, " = %d", &value) == 1) {
            *n = value;
            found = true;
        }
    }
    return found ? ERR_OK
                 : err_set(e, ERR_PARSE, "no line '%s = N' in what llama.cpp's program printed",
                           what);
}

int comparator_parse(const char *text, struct comparator_times *out, struct err *e)
{
    *out = (struct comparator_times){0};
    int rc = read_times(text, "encoded", &out->n_prompt, &out->prompt_ns, e);
    if (!rc)
        rc = read_times(text, "decoded", &out->n_output, &out->output_ns, e);
    if (!rc)
        rc = read_count(text, "n_drafted", &out->n_drafted, e);
    return rc ? rc : read_count(text, "n_accept", &out->n_accepted, e);
}

double comparator_ns(const struct comparator_times *t, enum comparator_tool tool, int32_t n)
{
    int32_t with_prompt = tool == COMPARATOR_LOOKUP && n > 0 && t->n_output > 1;
    return t->prompt_ns +
           t->output_ns * (double)(n - with_prompt) / (double)(t->n_output - with_prompt);
}

/* ---- running -------------------------------------------------------------------------------- */

/* Runs argv with its output into the file `to`; stderr goes there too, or stays where it is. */
static int spawn(char *const *argv, const char *to, bool errors, int *status, struct err *e)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, to, O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    if (errors)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    int failed = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return err_set(e, ERR_IO, "%s cannot be started: %s", argv[0], err_system(failed));
    while (waitpid(pid, status, 0) < 0 && errno == EINTR)
        ;
    return ERR_OK;
}

/* A program's name before our pinning of it; arguments as pointers into buf. */
struct command_words {
    int n;
    char *argv[MAX_ARGS];
    size_t at;
    char buf[20000];
};

static void word(struct command_words *w, const char *text)
{
    size_t n = strlen(text) + 1;
    if (w->n + 1 >= MAX_ARGS || w->at + n > sizeof w->buf)
        return; /* cut short: the program then refuses its arguments */
    w->argv[w->n++] = memcpy(w->buf + w->at, text, n);
    w->argv[w->n] = NULL;
    w->at += n;
}

static void option(struct command_words *w, const char *name, int64_t value)
{
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)value);
    word(w, name);
    word(w, number);
}

static void fill_words(const struct comparator *c, const struct comparator_task *t,
                       const char *prompt, struct command_words *w)
{
    char text[8192];
    *w = (struct command_words){0};
    if (t->core >= 0) {
        word(w, "taskset");
        option(w, "-c", t->core);
    }
    snprintf(text, sizeof text, "%s/%s/%s", t->dir, comparator_builds[c->build],
             comparator_tools[c->tool]);
    word(w, text);
    word(w, "-m");
    word(w, t->model);
    word(w, "-f");
    word(w, prompt);
    word(w, "--no-escape");
    /* The whole prompt is one batch to these programs. */
    option(w, "-c", t->max_ctx);
    option(w, "-b", t->max_ctx);
    option(w, "-n", t->max_tokens - 1); /* they stop after one more */
    option(w, "--temp", 0);
    option(w, "-t", t->threads);
    word(w, "-fa");
    word(w, c->flash ? "on" : "off");
    option(w, "--spec-draft-n-max", c->max_draft);
    if (c->tool == COMPARATOR_SPECULATIVE) {
        word(w, "--spec-type");
        word(w, "draft-simple");
        word(w, "-md");
        word(w, t->draft);
        option(w, "-td", t->threads);
    }
}

/* The last line that holds more than white space. */
static const char *last_words(char *text)
{
    size_t n = strlen(text);
    while (n && strchr(" \r\n\t", text[n - 1]))
        text[--n] = 0;
    const char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

int comparator_run(const struct comparator *c, const struct comparator_task *task,
                   struct comparator_times *out, struct err *e)
{
    static struct command_words w;
    char prompt[4096], printed[4096], *text = NULL;
    size_t n;
    int status = 0;
    snprintf(prompt, sizeof prompt, "%s.prompt", task->scratch);
    snprintf(printed, sizeof printed, "%s.printed", task->scratch);
    FILE *f = fopen(prompt, "wb");
    /* A line feed at the end of the file is not part of the prompt. */
    bool written = f && fprintf(f, "%s\n", task->prompt) > 0;
    if (!f || fclose(f) || !written)
        return err_at(e, ERR_IO, prompt, 0, 0, "cannot be written: %s", err_system(errno));
    fill_words(c, task, prompt, &w);
    int rc = spawn(w.argv, printed, true, &status, e);
    if (!rc)
        rc = io_read_file(printed, MAX_PRINTED, &text, &n, e);
    if (!rc && status)
        rc = err_set(e, ERR_DEVICE, "%s (%s) failed: %.300s", comparator_tools[c->tool],
                     comparator_builds[c->build], last_words(text));
    if (!rc)
        rc = comparator_parse(text, out, e);
    free(text);
    remove(prompt);
    remove(printed);
    return rc;
}

int comparator_setup(const char *verb, const char *argument, char *path, size_t size, struct err *e)
{
    static struct command_words w;
    char script[4096], printed[64], *text = NULL;
    size_t n;
    int status = 0;
    if (!command_shipped("experiments/setup.sh", script, sizeof script))
        return err_at(e, ERR_IO, script, 0, 0,
                      "is not here nor beside the program: run from the repository's root");
    mkdir("out", 0777);
    snprintf(printed, sizeof printed, "out/setup-%ld", (long)getpid());
    w = (struct command_words){0};
    word(&w, "sh");
    word(&w, script);
    word(&w, verb);
    if (argument)
        word(&w, argument);
    int rc = spawn(w.argv, printed, false, &status, e);
    if (!rc && status)
        rc = err_set(e, ERR_IO, "sh %s %s failed (its messages are above)", script, verb);
    if (!rc)
        rc = io_read_file(printed, 4096, &text, &n, e);
    if (!rc) {
        text[strcspn(text, "\n")] = 0;
        snprintf(path, size, "%s", text);
    }
    free(text);
    remove(printed);
    return rc;
}
