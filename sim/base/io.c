#include "sim/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(struct err *e, const char *path, const char *what)
{
    return err_at(e, ERR_IO, *path ? path : "''", 0, 0, "cannot %s: %s", what, err_system(errno));
}

static int no_memory(struct err *e, const char *path)
{
    return err_at(e, ERR_NOMEM, path, 0, 0, "out of memory");
}

/* "a named pipe" and so on; NULL for a regular file. */
static const char *irregular(const struct stat *st)
{
    if (S_ISREG(st->st_mode))
        return NULL;
    return S_ISDIR(st->st_mode)    ? "a directory"
           : S_ISFIFO(st->st_mode) ? "a named pipe"
           : S_ISSOCK(st->st_mode) ? "a socket"
           : S_ISLNK(st->st_mode)  ? "a symbolic link"
                                   : "a device";
}

static int refuse_input(struct err *e, const char *path, const char *what)
{
    return err_at(e, ERR_IO, path, 0, 0, "is %s, not a regular file: save its content as a file",
                  what);
}

/* Looks before it opens, since to open a device may set it going; and again at what it opened,
 * without waiting for the other end of a pipe that came in between. */
static int open_regular(const char *path, struct stat *st, int *fd, struct err *e)
{
    if (!stat(path, st) && irregular(st))
        return refuse_input(e, path, irregular(st));
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return failed(e, path, "open");
    int code = ERR_OK;
    if (fstat(*fd, st) < 0)
        code = failed(e, path, "inspect");
    else if (irregular(st))
        code = refuse_input(e, path, irregular(st));
    if (code)
        close(*fd);
    return code;
}

int io_open(const char *path, FILE **out, struct err *e)
{
    struct stat st;
    int fd, code = open_regular(path, &st, &fd, e);
    if (code)
        return code;
    *out = fdopen(fd, "rb");
    if (*out)
        return ERR_OK;
    failed(e, path, "open");
    close(fd);
    return ERR_IO;
}

/* Reads to the end; one byte more than the limit tells a full file from one that is too long. */
static int read_all(int fd, const char *path, size_t max_bytes, size_t guess, char **data,
                    size_t *n, struct err *e)
{
    size_t cap = guess < max_bytes ? guess : max_bytes;
    char *buf = malloc(cap + 2);
    size_t at = 0;
    if (!buf)
        return no_memory(e, path);
    for (;;) {
        ssize_t got = read(fd, buf + at, cap + 1 - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(buf);
            return failed(e, path, "read");
        }
        if (got == 0)
            break;
        at += (size_t)got;
        if (at > max_bytes) {
            free(buf);
            return err_at(
                e, ERR_LIMIT, path, 0, 0,
                "is longer than %zu bytes, the limit here: name the right file, or split it",
                max_bytes);
        }
        if (at > cap) {
            cap = cap < max_bytes / 2 - 4096 ? cap * 2 + 4096 : max_bytes;
            char *more = realloc(buf, cap + 2);
            if (!more) {
                free(buf);
                return no_memory(e, path);
            }
            buf = more;
        }
    }
    buf[at] = 0;
    *data = buf;
    *n = at;
    return ERR_OK;
}

int io_read_file(const char *path, size_t max_bytes, char **data, size_t *n, struct err *e)
{
    struct stat st;
    int fd;
    if (max_bytes > SIZE_MAX / 4)
        max_bytes = SIZE_MAX / 4;
    int code = open_regular(path, &st, &fd, e);
    if (code)
        return code;
    size_t guess = st.st_size > 0 ? (size_t)st.st_size : 4096;
    code = read_all(fd, path, max_bytes, guess, data, n, e);
    close(fd);
    return code;
}

int io_map_file(const char *path, struct io_map *out, struct err *e)
{
    struct stat st;
    int fd;
    int code = open_regular(path, &st, &fd, e);
    if (code)
        return code;
    out->data = NULL;
    out->n = 0;
    if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            code = failed(e, path, "map");
        } else {
            out->data = p;
            out->n = (size_t)st.st_size;
        }
    }
    close(fd);
    return code;
}

void io_unmap(struct io_map *m)
{
    /* munmap's parameter is not const, the memory is ours to give back */
    if (m->data)
        munmap((void *)(uintptr_t)m->data, m->n);
    m->data = NULL;
    m->n = 0;
}

/* Text of a symbolic link, from where the program runs: *path is replaced by it. */
static int follow(char **path)
{
    char text[4096];
    ssize_t n = readlink(*path, text, sizeof text);
    if (n < 0 || n == (ssize_t)sizeof text) {
        errno = n < 0 ? errno : ENAMETOOLONG;
        return ERR_IO;
    }
    const char *slash = strrchr(*path, '/');
    size_t folder = slash && text[0] != '/' ? (size_t)(slash - *path) + 1 : 0;
    char *next = malloc(folder + (size_t)n + 1);
    if (!next)
        return ERR_NOMEM;
    memcpy(next, *path, folder);
    memcpy(next + folder, text, (size_t)n);
    next[folder + (size_t)n] = 0;
    free(*path);
    *path = next;
    return ERR_OK;
}

/* What is to be replaced for an output to `path`: that, or what a link there leads to. A chain of
 * links ends, since stat followed it; or it leads nowhere, and its last link's text is the file to
 * make. */
static int find_target(const char *path, char **target, struct err *e)
{
    struct stat st;
    size_t size = strlen(path) + 1;
    *target = NULL;
    if (!stat(path, &st)) {
        if (irregular(&st))
            return err_at(e, ERR_IO, path, 0, 0,
                          "is %s: an output would replace it, and replaces regular files only: "
                          "name another file",
                          irregular(&st));
    } else if (errno == ELOOP) {
        return failed(e, path, "follow");
    }
    *target = malloc(size);
    if (!*target)
        return no_memory(e, path);
    memcpy(*target, path, size);
    while (!lstat(*target, &st) && S_ISLNK(st.st_mode)) {
        int code = follow(target);
        if (code) {
            code = code == ERR_NOMEM ? no_memory(e, path) : failed(e, path, "follow");
            free(*target);
            *target = NULL;
            return code;
        }
    }
    return ERR_OK;
}

int io_out_paths(const char *path, char **target, char **part, struct err *e)
{
    struct stat st;
    *part = NULL;
    int code = find_target(path, target, e);
    if (code)
        return code;
    size_t n = strlen(*target);
    *part = malloc(n + sizeof ".part");
    if (!*part) {
        code = no_memory(e, path);
    } else {
        memcpy(*part, *target, n);
        memcpy(*part + n, ".part", sizeof ".part");
        if (!lstat(*part, &st) && irregular(&st))
            code = err_at(e, ERR_IO, *part, 0, 0,
                          "is %s where a file would be written until it is whole: remove it, or "
                          "name another file",
                          irregular(&st));
    }
    if (code) {
        free(*target);
        free(*part);
        *target = *part = NULL;
    }
    return code;
}

int io_out_open(struct io_out *o, const char *path, struct err *e)
{
    o->file = NULL;
    int code = io_out_paths(path, &o->path, &o->part, e);
    if (code)
        return code;
    o->file = fopen(o->part, "wb");
    if (!o->file) {
        code = failed(e, o->part, "create");
        free(o->path);
        free(o->part);
        o->path = o->part = NULL;
    }
    return code;
}

int io_out_close(struct io_out *o, bool keep, struct err *e)
{
    int code = ERR_OK;
    if (keep && (ferror(o->file) || fflush(o->file) || fsync(fileno(o->file))))
        code = failed(e, o->path, "write");
    if (fclose(o->file) && keep && !code)
        code = failed(e, o->path, "write");
    if (keep && !code && rename(o->part, o->path))
        code = failed(e, o->path, "rename the finished file to");
    if (!keep || code)
        unlink(o->part);
    free(o->path);
    free(o->part);
    o->path = o->part = NULL;
    o->file = NULL;
    return code;
}

int io_write_file(const char *path, const void *data, size_t n, struct err *e)
{
    struct io_out o;
    int code = io_out_open(&o, path, e);
    if (code)
        return code;
    bool whole = n == 0 || fwrite(data, 1, n, o.file) == n;
    if (!whole)
        code = failed(e, path, "write");
    int closed = io_out_close(&o, whole, e);
    return code ? code : closed;
}
