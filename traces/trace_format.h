/* The layout of a trace file, for its reader, its writer and their tests.
 *
 * A header of sizeof(struct trace_header) bytes; then the sections in the order of enum
 * trace_section, each starting where the one before it ends, each a multiple of 8 bytes, padded
 * with zeros. Little-endian, IEEE 754; every array is aligned to its element, so that it is used in
 * place. The header's last word is the CRC-32 of the bytes before it; each section has its own.
 * Every byte of the file is under one of them. */
#ifndef TANDEM_TRACES_TRACE_FORMAT_H
#define TANDEM_TRACES_TRACE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "sim/exec/exec.h"

#define TRACE_MAGIC "TANDEMtr"

enum trace_section {
    TRACE_REQUESTS, /* struct trace_record, by number */
    TRACE_TOKENS,   /* int32: of each request the prompt, then the continuation */
    TRACE_TOP_IDS,  /* int32: top_k per prompt position; -1 in all of a position: not recorded */
    TRACE_LOGITS,   /* float: in the order of TOP_IDS */
    TRACE_CHOICES,  /* struct trace_entry, ascending by (n_true, n_wrong, chain) in a request */
    TRACE_TEXT,     /* ids and tasks, each with its NUL */
    TRACE_SECTIONS
};

struct trace_span {
    uint64_t offset, bytes;
    uint32_t crc, zero;
};

struct trace_header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint64_t file_bytes;
    int32_t n_vocab, n_eos;
    int32_t eos[EXEC_MAX_EOS]; /* -1 beyond n_eos */
    char model[128];           /* NUL and zeros after the text */
    char numerics[64];
    int32_t n_requests, top_k;
    uint64_t n_tokens, n_choices, text_bytes; /* without padding */
    uint64_t n_top;                           /* prompt positions with a place in TOP_IDS */
    struct trace_span section[TRACE_SECTIONS];
    uint32_t zero;
    uint32_t crc;
};

struct trace_record {
    uint64_t id, task; /* offsets in TEXT */
    uint64_t token;    /* index of the first prompt token in TOKENS */
    uint64_t top;      /* number of the first prompt position in TOP_IDS; 0 when top_k is 0 */
    uint64_t choice;   /* index of the first counterfactual */
    int32_t n_choices;
    int32_t n_prompt, n_output, max_tokens, split, zero;
};

struct trace_entry {
    int32_t n_true, n_wrong;
    uint64_t chain;
    int32_t choice, zero;
};

_Static_assert(sizeof(struct trace_span) == 24, "part of the format");
_Static_assert(sizeof(struct trace_header) == 480, "part of the format");
_Static_assert(sizeof(struct trace_record) == 64, "part of the format");
_Static_assert(sizeof(struct trace_entry) == 24, "part of the format");

/* Compares by (n_true, n_wrong, chain). */
static inline int trace_entry_order(const struct trace_entry *a, const struct trace_entry *b)
{
    if (a->n_true != b->n_true)
        return a->n_true < b->n_true ? -1 : 1;
    if (a->n_wrong != b->n_wrong)
        return a->n_wrong < b->n_wrong ? -1 : 1;
    return (a->chain > b->chain) - (a->chain < b->chain);
}

#endif
