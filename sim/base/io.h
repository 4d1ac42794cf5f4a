/* Files: whole reads with a limit, read-only maps, and writes that are whole or absent. */
#ifndef TANDEM_BASE_IO_H
#define TANDEM_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "sim/base/err.h"

/* Reads a whole file or pipe. *data is malloc'ed, holds *n bytes and a NUL after them, and is the
 * caller's to free. ERR_IO with the system's reason; ERR_LIMIT when there are more than max_bytes.
 */
int io_read_file(const char *path, size_t max_bytes, char **data, size_t *n, struct err *e);

/* A file mapped read-only. An empty file has n == 0 and data == NULL. If another program shortens
 * the file while it is mapped, the system ends this one with SIGBUS: writers rename, as below. */
struct io_map {
    const void *data;
    size_t n;
};

int io_map_file(const char *path, struct io_map *out, struct err *e);
void io_unmap(struct io_map *m);

/* A file being written as PATH.part. */
struct io_out {
    FILE *file; /* write here */
    char *path, *part;
};

int io_out_open(struct io_out *o, const char *path, struct err *e);

/* With `keep`: flushes, waits for the disk and renames to the path, so that readers see the old
 * file or the whole new one; ERR_IO if anything failed since io_out_open, and then nothing is left.
 * Without: removes the part. */
int io_out_close(struct io_out *o, bool keep, struct err *e);

/* The same in one call. */
int io_write_file(const char *path, const void *data, size_t n, struct err *e);

#endif
