#include "experiments/progress.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { EVERY_S = 30, LINE = 121 };

/* Of the process, as its stderr is. */
static struct {
    bool begun, on_line;
    time_t next_s;
} shown;

static bool due(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_MONOTONIC, &t);
    bool is = shown.begun && t.tv_sec >= shown.next_s;
    if (is || !shown.begun)
        shown.next_s = t.tv_sec + EVERY_S;
    shown.begun = true;
    return is;
}

void progress_show(const char *format, ...)
{
    bool terminal = isatty(STDERR_FILENO);
    if (!terminal && !due())
        return;
    char line[LINE];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, terminal ? "\r\033[K%s" : "%s\n", line);
    shown.on_line = terminal;
}

void progress_end(void)
{
    if (shown.on_line)
        fputs("\r\033[K", stderr);
    shown.on_line = false;
}
