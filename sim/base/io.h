/* Files: whole reads with a limit, read-only maps, and writes that are whole or absent. */
#ifndef TANDEM_BASE_IO_H
#define TANDEM_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "sim/base/err.h"

/* Reads a whole file. *data is malloc'ed, holds *n bytes and a NUL after them, and is the caller's
 * to free. ERR_IO with the system's reason, also for what is no regular file, as everywhere below:
 * a pipe without a writer would keep its reader waiting. ERR_LIMIT when there are more than
 * max_bytes. */
int io_read_file(const char *path, size_t max_bytes, char **data, size_t *n, struct err *e);

/* Opens a regular file for reading; *out is the caller's to close. ERR_IO. */
int io_open(const char *path, FILE **out, struct err *e);

/* A file mapped read-only. An empty file has n == 0 and data == NULL. If another program shortens
 * the file while it is mapped, the system ends this one with SIGBUS: writers rename, as below. */
struct io_map {
    const void *data;
    size_t n;
};

/* ERR_IO. The caller ends it with io_unmap. */
int io_map_file(const char *path, struct io_map *out, struct err *e);
void io_unmap(struct io_map *m);

/* Where an output to `path` goes: *part is written until it is whole, and then renamed to *target,
 * which is `path`, or the file that a symbolic link there leads to, so that the link stays. Both
 * are malloc'ed and the caller's to free. ERR_IO when one of them exists and is no regular file,
 * since renaming would replace a device or a pipe. Whatever writes by another way than io_out asks
 * here first. */
int io_out_paths(const char *path, char **target, char **part, struct err *e);

/* A file being written as `part`; its own until io_out_close. */
struct io_out {
    FILE *file; /* write here */
    char *path, *part;
};

/* ERR_IO as io_out_paths, and when the part cannot be made. */
int io_out_open(struct io_out *o, const char *path, struct err *e);

/* With `keep`: flushes, waits for the disk and renames to the path, so that readers see the old
 * file or the whole new one; ERR_IO if anything failed since io_out_open, and then nothing is left.
 * Without: removes the part. */
int io_out_close(struct io_out *o, bool keep, struct err *e);

/* The same in one call. */
int io_write_file(const char *path, const void *data, size_t n, struct err *e);

#endif
