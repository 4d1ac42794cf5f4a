#include "sim/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const table[] = {
#define X(name, text) text,
    ERR_TABLE(X)
#undef X
};

static void fill(struct err *e, int code, const char *fmt, va_list ap)
{
    e->code = code;
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e && e->code == ERR_OK) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, code, fmt, ap);
        va_end(ap);
    }
    return code;
}

int err_at(struct err *e, int code, const char *file, int line, int col, const char *fmt, ...)
{
    if (e && e->code == ERR_OK) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, code, fmt, ap);
        va_end(ap);
        snprintf(e->file, sizeof e->file, "%s", file ? file : "");
        e->line = line;
        e->col = col;
    }
    return code;
}

void err_more(struct err *e, const char *fmt, ...)
{
    char more[400];
    size_t n = e ? strlen(e->msg) : 0;
    va_list ap;
    va_start(ap, fmt);
    int want = vsnprintf(more, sizeof more, fmt, ap);
    va_end(ap);
    if (n && want >= 0 && n + (size_t)want + sizeof "; " <= sizeof e->msg)
        snprintf(e->msg + n, sizeof e->msg - n, "; %s", more);
}

void err_list(char *list, size_t size, const char *name)
{
    static const char end[] = ", ...";
    size_t n = strlen(list);
    if (n > 2 && !strcmp(list + n - 3, "..."))
        return;
    bool fits = n + 2 + strlen(name) + sizeof end <= size; /* and an end after it */
    snprintf(list + n, size - n, "%s%s", n ? ", " : "", fits ? name : end + 2);
}

const char *err_system(int number)
{
    switch (number) {
    case ENOENT:
        return "No such file or directory: correct the path, or make its folder";
    case ENOTDIR:
        return "Not a directory: correct the path";
    case EACCES:
        return "Permission denied: name a file that you may use, or change its rights";
    case EROFS:
        return "Read-only file system: name a file elsewhere";
    case ENOSPC:
        return "No space left on device: make room, or name a file elsewhere";
    case EFBIG:
        return "File too large: raise the limit (ulimit -f), or name a file elsewhere";
    default:
        return strerror(number);
    }
}

const char *err_text(int code)
{
    return code >= 0 && code < ERR_COUNT ? table[code] : "?";
}

const char *err_format(const struct err *e, char *buf, size_t size)
{
    char at[300] = "";
    if (e->file[0] && e->line > 0 && e->col > 0)
        snprintf(at, sizeof at, "%s:%d:%d: ", e->file, e->line, e->col);
    else if (e->file[0] && e->line > 0)
        snprintf(at, sizeof at, "%s:%d: ", e->file, e->line);
    else if (e->file[0])
        snprintf(at, sizeof at, "%s: ", e->file);
    snprintf(buf, size, "%s%s", at, e->msg[0] ? e->msg : err_text(e->code));
    return buf;
}
