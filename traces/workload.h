/* Workloads: what is asked of a model. JSON Lines, each an object with exactly these keys:
 *
 *   id          any string, unlike every other id of the file
 *   task        any string
 *   prompt      final text: special tokens are parsed by the tokeniser, no template is added
 *   max_tokens  output tokens at most, >= 1
 *
 * All text is UTF-8 without U+0000. */
#ifndef TANDEM_TRACES_WORKLOAD_H
#define TANDEM_TRACES_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/base/arena.h"
#include "sim/base/err.h"

enum {
    WORKLOAD_MAX_FILE_BYTES = 1 << 28,
    WORKLOAD_MAX_PROMPT_BYTES = 1 << 22,
    WORKLOAD_MAX_NAME_BYTES = 255, /* of an id or a task */
    WORKLOAD_MAX_ITEMS = 1 << 20,
    WORKLOAD_MAX_TASKS = 256,
    WORKLOAD_MAX_TOKENS = 1 << 20
};

/* What was used to fit is never what is used to judge. */
enum split { SPLIT_CALIBRATION, SPLIT_HELD_OUT };

/* How a file is split. ALTERNATE: of each task, in file order, items 1, 3, 5, ... are calibration
 * and 2, 4, 6, ... are held out. ALL_HELD_OUT: a file that a user brings to validate with. */
enum split_rule { SPLIT_ALTERNATE, SPLIT_ALL_HELD_OUT };

struct workload_item {
    const char *id, *prompt;
    int32_t task; /* index into the workload's tasks */
    int32_t max_tokens;
    enum split split;
    const char *file; /* where it came from */
    int line, col;    /* of its id; 0 when it has no line of its own */
    int prompt_col;   /* of its prompt in that line; 0: not known */
};

struct workload {
    struct arena arena; /* owns all text */
    int32_t n, cap;
    struct workload_item *item; /* [n], in file order */
    int32_t n_tasks;
    const char *task[WORKLOAD_MAX_TASKS]; /* in order of first appearance */
    int64_t n_turns_left_out;             /* by the importer of SPEC_BENCH */
};

/* Reads a workload file. ERR_PARSE, ERR_SCHEMA, ERR_RANGE, ERR_LIMIT name file:line:col; an empty
 * workload is ERR_SCHEMA. workload_fini is right after success and after failure. */
int workload_load(const char *path, enum split_rule rule, struct workload *w, struct err *e);

/* The same from n bytes, of which nothing is kept. */
int workload_load_bytes(const char *name, const char *bytes, size_t n, enum split_rule rule,
                        struct workload *w, struct err *e);

void workload_init(struct workload *w);
void workload_fini(struct workload *w);

/* Appends one item (texts are copied, UTF-8 is the caller's to check): ERR_SCHEMA, ERR_RANGE or
 * ERR_LIMIT with file:line:col. Repeated ids and splits are workload_finish's. */
int workload_add(struct workload *w, const struct workload_item *item, const char *task,
                 struct err *e);

/* Rejects repeated ids (ERR_SCHEMA, at the second one) and empty workloads, and sets the splits. */
int workload_finish(struct workload *w, enum split_rule rule, const char *name, struct err *e);

/* At most `max` items of a split, evenly over tasks, by a fixed rule: tasks in order of first
 * appearance take turns, each giving its next item in file order; a task that has none left is
 * passed over. Writes their indexes to index[] and returns their number. The choice for a smaller
 * `max` is the beginning of the choice for a larger one. */
int32_t workload_choose(const struct workload *w, enum split split, int32_t max, int32_t *index);

/* Writes the workload as JSON Lines, keys in the order above: whole or not at all. */
int workload_save(const struct workload *w, const char *path, struct err *e);

/* ---- importing ------------------------------------------------------------------------------ */

/* SPEC_BENCH: Spec-Bench's question.jsonl: id = question_id, task = category, prompt = turns[0].
 *   Later turns answer a reply that is not in the file: they are left out, and counted.
 * TEXT: one prompt per file, without its last line feed: id = the file's name without folder and
 *   extension.
 * JSONL: one prompt per line, in a named field: id = the same name, "-" and the line's number.
 * Other keys are passed over. */
enum import_from { IMPORT_SPEC_BENCH, IMPORT_TEXT, IMPORT_JSONL };

struct import_options {
    enum import_from from;
    const char *field;  /* JSONL: the field with the prompt; else NULL */
    const char *task;   /* NULL: the category (SPEC_BENCH), or the file's name as in the id */
    int32_t max_tokens; /* of every item */
};

/* "spec-bench", "text" or "jsonl"; ERR_USAGE for another word. */
int import_from_name(const char *name, enum import_from *out, struct err *e);

/* Reads n_files files into *w, in their order. Errors as in workload_load, and ERR_USAGE for
 * options that do not fit together. workload_fini is right after success and after failure. */
int workload_import(const struct import_options *o, const char *const *file, int n_files,
                    struct workload *w, struct err *e);

/* Adds what one file of these bytes would give to *w, which was initialised; the options are taken
 * as they are and workload_finish is the caller's. */
int workload_import_bytes(const struct import_options *o, const char *name, const char *bytes,
                          size_t n, struct workload *w, struct err *e);

#endif
