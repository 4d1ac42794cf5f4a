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
    return err_at(e, ERR_IO, path, 0, 0, "cannot %s: %s", what, strerror(errno));
}

static int no_memory(struct err *e, const char *path)
{
    return err_at(e, ERR_NOMEM, path, 0, 0, "out of memory");
}

static int open_regular(const char *path, struct stat *st, int *fd, struct err *e)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return failed(e, path, "open");
    if (fstat(*fd, st) < 0) {
        failed(e, path, "inspect");
        close(*fd);
        return ERR_IO;
    }
    if (S_ISDIR(st->st_mode)) {
        close(*fd);
        return err_at(e, ERR_IO, path, 0, 0, "is a directory: expected a file");
    }
    return ERR_OK;
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
            return err_at(e, ERR_LIMIT, path, 0, 0, "is longer than %zu bytes, the limit here",
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
    size_t guess = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size : 4096;
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
    if (!S_ISREG(st.st_mode)) {
        code = err_at(e, ERR_IO, path, 0, 0, "is not a regular file: it cannot be mapped");
    } else if (st.st_size > 0) {
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

int io_out_open(struct io_out *o, const char *path, struct err *e)
{
    size_t n = strlen(path);
    o->file = NULL;
    o->path = malloc(n + 1);
    o->part = malloc(n + sizeof ".part");
    int code = ERR_OK;
    if (!o->path || !o->part) {
        code = no_memory(e, path);
        goto out;
    }
    memcpy(o->path, path, n + 1);
    memcpy(o->part, path, n);
    memcpy(o->part + n, ".part", sizeof ".part");
    o->file = fopen(o->part, "wb");
    if (!o->file)
        code = failed(e, o->part, "create");
out:
    if (code) {
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
