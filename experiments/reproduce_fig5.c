/* tandem reproduce fig5: prefill and speculative decoding by chunk size, from Fig 6's line. */
#include <math.h>
#include <stddef.h>

#include "experiments/fig6.h"
#include "experiments/published.h"
#include "experiments/reproduce.h"

struct fig5 {
    double length, accepted, prefill_ms, decode_ms, other_length;
};

static const struct published_field fields[] = {
    {"chunk.length", "tokens", offsetof(struct fig5, length), false},
    {"chunk.accepted", "tokens/verification", offsetof(struct fig5, accepted), false},
    {"chunk.prefill", "ms/token", offsetof(struct fig5, prefill_ms), false},
    {"chunk.decode", "ms/token", offsetof(struct fig5, decode_ms), false},
    {"misprint.length", "tokens", offsetof(struct fig5, other_length), false},
    {.path = NULL}};

static void put(struct reproduce_context *c, const char *what, double length, const char *note,
                double published, double simulated)
{
    char cell[96];
    snprintf(cell, sizeof cell, "%s, chunk %.0f%s, ms/token", what, length, note);
    reproduce_cell(c, "fig5", cell, published, simulated, "shown", "zero-fit", NAN, NAN);
}

static int run(struct reproduce_context *c, struct err *e)
{
    char path[512];
    struct fig5 f;
    struct fig6 g;
    int rc = reproduce_file("fig5", path, sizeof path, e);
    if (!rc)
        rc = published_read(path, "fig5", fields, &f, c->arena, e);
    if (!rc)
        rc = fig6_read(&g, c->arena, e);
    if (rc)
        return rc;
    struct line l = fig6_line(&g);
    reproduce_note(c,
                   "a chunk of n tokens takes Fig 6's %.2f + %.4f n ms, if that is this phone. "
                   "Prefill is\npublished as below %.0f ms/token. Decoding fits a chunk of %.0f, "
                   "and not the %.0f that is\nprinted: tandem reproduce audit, check 3\n",
                   l.fixed, l.slope, f.prefill_ms, f.other_length, f.length);
    put(c, "prefill", f.length, " as printed", f.prefill_ms, line_at(l, f.length) / f.length);
    put(c, "decode", f.length, " as printed", f.decode_ms, line_at(l, f.length) / f.accepted);
    put(c, "prefill", f.other_length, " if a misprint", f.prefill_ms,
        line_at(l, f.other_length) / f.other_length);
    put(c, "decode", f.other_length, " if a misprint", f.decode_ms,
        line_at(l, f.other_length) / f.accepted);
    return ERR_OK;
}

const struct reproduction reproduce_fig5 = {
    .name = "fig5",
    .source = "arXiv 2510.15312v3, Fig 5: prefill and decoding by chunk size, K70 Pro",
    .summary = "from Fig 6's line, at the chunk that is printed and at the one that fits",
    .files_only = true,
    .run = run};
