/* Errors: one table of codes, and a record for functions that meet the outside world.
 *
 * A function that can fail returns an `int` from the table below; ERR_OK is 0. Functions that read
 * what a person or another program wrote also fill a `struct err`, so that the message can name
 * file:line:column, the value, what was expected and the remedy. Libraries never print and never
 * exit; only the commands do. */
#ifndef TANDEM_BASE_ERR_H
#define TANDEM_BASE_ERR_H

#include <stddef.h>

/* name, text. The order is part of the log format: append, never insert. */
#define ERR_TABLE(X)                                                                               \
    X(OK, "ok")                                                                                    \
    X(USAGE, "wrong usage")                                                                        \
    X(IO, "input or output failed")                                                                \
    X(PARSE, "malformed input")                                                                    \
    X(SCHEMA, "input does not match its schema")                                                   \
    X(RANGE, "value out of range")                                                                 \
    X(LIMIT, "a stated limit was exceeded")                                                        \
    X(NOMEM, "out of memory")                                                                      \
    X(UNSUPPORTED, "not supported here")                                                           \
    X(CORRUPT, "data is truncated or corrupt")                                                     \
    X(MISMATCH, "inputs do not belong together")                                                   \
    X(REPLAY, "replay differs from the log")                                                       \
    X(POLICY, "the policy broke its contract")                                                     \
    X(STALLED, "no progress is possible")                                                          \
    X(DEVICE, "a device or engine failed")                                                         \
    X(CANCELLED, "cancelled")                                                                      \
    X(NOISY, "the machine was too noisy")                                                          \
    X(FAULT, "an injected fault")

enum err_code {
#define X(name, text) ERR_##name,
    ERR_TABLE(X)
#undef X
        ERR_COUNT
};

/* The first error wins: err_set and err_at leave a record that already holds one alone. */
struct err {
    int code;
    int line; /* 1-based; 0: none */
    int col;  /* 1-based; 0: none */
    char file[256];
    char msg[768];
};

/* Each returns `code`, so that `return err_set(...)` is the idiom. `e` may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_at(struct err *e, int code, const char *file, int line, int col, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/* Adds "; " and more to a message, where there is room: what can be done, where it was. */
void err_more(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds a name to "a, b", a list for a message, whole or not at all: where one does not fit, "..."
 * ends the list. `list` is a string in `size` bytes, empty before the first name. */
void err_list(char *list, size_t size, const char *name);

/* The system's words for an errno, and for what befalls files also what can be done. */
const char *err_system(int number);

/* "input does not match its schema"; "?" for a number that is no code. */
const char *err_text(int code);

/* Writes "file:line:col: msg" (parts that are absent are left out) to buf; returns buf. */
const char *err_format(const struct err *e, char *buf, size_t size);

#endif
