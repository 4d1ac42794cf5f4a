/* Device files: struct device to text. Values are written exactly, in the largest unit. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hwmodels/device_file.h"
#include "sim/base/io.h"

/* In quotes, of any length: piece by piece, cut between characters. */
void device_put_quoted(FILE *f, const char *text)
{
    fputc('"', f);
    for (size_t left = strlen(text), n; left; text += n, left -= n) {
        char piece[65], buf[4 * sizeof piece];
        n = left < sizeof piece - 1 ? left : sizeof piece - 1;
        while (n < left && n > sizeof piece - 5 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
        memcpy(piece, text, n);
        piece[n] = 0;
        yaml_quote(piece, buf, sizeof buf);
        fwrite(buf + 1, 1, strlen(buf) - 2, f);
    }
    fputc('"', f);
}

/* A text as a plain word where YAML reads it as one, else in quotes. */
static void put_word(FILE *f, const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    if (*text && !text[strspn(text, safe)] && strcmp(text, "null"))
        fputs(text, f);
    else
        device_put_quoted(f, text);
}

void device_put_text(FILE *f, const char *indent, const char *key, const char *text)
{
    fputs(indent, f);
    put_word(f, key);
    fputs(": ", f);
    device_put_quoted(f, text);
    fputc('\n', f);
}

static void put_text(FILE *f, const char *indent, const char *key, const char *text)
{
    device_put_text(f, indent, key, text);
}

static void put_source(FILE *f, const char *indent, const char *source)
{
    if (source)
        put_text(f, indent, "source", source);
}

/* "KEY: 5.4 us", or null for -1. */
static void put_value(FILE *f, const char *before, const char *key, int64_t v, enum unit unit)
{
    char buf[40];
    fprintf(f, "%s%s: %s", before, key, v < 0 ? "null" : unit_format(v, unit, buf, sizeof buf));
}

static void put_table(FILE *f, const char *key, const struct device_table *t)
{
    if (!t->n_cells)
        return;
    int64_t unit = 1000;
    for (int32_t i = 0; i < t->n_cells; i++)
        for (int32_t s = 0; s < t->cell[i].n; s++)
            if (t->cell[i].sample_ns[s] % 1000)
                unit = 1;
    fprintf(f, "    %s:\n", key);
    put_source(f, "      ", t->source);
    fprintf(f, "      axes: {pad: %" PRId32 ", period: %" PRId32, t->pad, t->period);
    if (t->few)
        fprintf(f, ", few: %" PRId32, t->few);
    fputs("}\n", f);
    put_value(f, "      ", "change", t->change_ns, UNIT_NS);
    if (t->fixed_bytes >= 0) {
        put_value(f, "\n      bytes:\n        ", "fixed", t->fixed_bytes, UNIT_BYTES);
        put_value(f, "\n        ", "per_token", t->per_token_bytes, UNIT_BYTES);
        fputc('\n', f);
        put_source(f, "        ", t->bytes_source);
    } else {
        fputc('\n', f);
    }
    fprintf(f, "      unit: %s\n      cells:\n", unit == 1 ? "ns" : "us");
    for (int32_t i = 0; i < t->n_cells; i++) {
        const struct device_cell *c = &t->cell[i];
        fprintf(f, "        - width: %" PRId32 "\n          bucket: %" PRId32 "\n", c->width,
                c->bucket);
        fprintf(f, "          changed: %d\n          samples: [", (int)c->changed);
        for (int32_t s = 0; s < c->n; s++)
            fprintf(f, "%s%" PRId64, s ? ", " : "", c->sample_ns[s] / unit);
        fputs("]\n", f);
        put_source(f, "          ", c->source);
    }
}

static void put_costs(FILE *f, const struct device_processor *p)
{
    put_table(f, "step", &p->step);
    put_table(f, "prefill", &p->prefill);
    put_table(f, "prefill_all", &p->prefill_all);
    put_value(f, "    sample:\n      ", "fixed", p->sample_fixed_ns, UNIT_NS);
    put_value(f, "\n      ", "per_row", p->sample_row_ns, UNIT_NS);
    put_value(f, "\n      ", "per_top_row", p->sample_top_ns, UNIT_NS);
    fputs("\n", f);
    put_source(f, "      ", p->sample_source);
    put_value(f, "    commit:\n      ", "chain", p->commit_chain_ns, UNIT_NS);
    put_value(f, "\n      ", "tree", p->commit_tree_ns, UNIT_NS);
    put_value(f, "\n      ", "copy", p->copy_ns, UNIT_NS);
    fputs("\n", f);
    put_source(f, "      ", p->commit_source);
    if (p->n_drafts)
        fputs("    draft:\n", f);
    for (int32_t i = 0; i < p->n_drafts; i++) {
        const struct device_draft *d = &p->draft[i];
        fputs("      ", f);
        put_word(f, d->name);
        put_value(f, ":\n        ", "fixed", d->fixed_ns, UNIT_NS);
        put_value(f, "\n        ", "per_1000_probes", d->kprobe_ns, UNIT_NS);
        put_value(f, "\n        ", "per_1000_nodes", d->knode_ns, UNIT_NS);
        put_value(f, "\n        ", "per_1000_tokens", d->ktoken_ns, UNIT_NS);
        fputs("\n", f);
        put_source(f, "        ", d->source);
    }
}

static void put_processor(FILE *f, const struct device *d, const struct device_processor *p)
{
    put_text(f, "  - ", "name", p->name);
    put_source(f, "    ", p->source);
    fprintf(f, "    kind: %s\n    threads: %" PRId32 "\n", device_kinds[p->kind], p->threads);
    put_value(f, "    power: {", "active", p->active_mw, UNIT_MW);
    put_value(f, ", ", "idle", p->idle_mw, UNIT_MW);
    device_put_ranged(f, ", ", "prefill", &p->prefill_mw, UNIT_MW, false);
    device_put_ranged(f, ", ", "decode", &p->decode_mw, UNIT_MW, false);
    fputs("}\n", f);
    if (p->n_units)
        device_put_units(f, &d->platform, p);
    else if (p->same_as >= 0)
        put_text(f, "    ", "same_as", d->processor[p->same_as].name);
    else
        put_costs(f, p);
}

static void put_facts(FILE *f, const char *key, const struct device_fact *fact, int32_t n)
{
    if (n)
        fprintf(f, "\n%s:\n", key);
    for (int32_t i = 0; i < n; i++) {
        fputs("  ", f);
        put_word(f, fact[i].key);
        fputs(fact[i].list ? ": [" : ": ", f);
        if (!fact[i].n && !fact[i].list)
            fputs("null", f);
        for (int32_t t = 0; t < fact[i].n; t++) {
            fputs(t ? ", " : "", f);
            put_word(f, fact[i].text[t]);
        }
        fputs(fact[i].list ? "]\n" : "\n", f);
    }
}

static void put_host(FILE *f, const struct device *d)
{
    if (d->host.event_ns < 0)
        return;
    put_value(f, "\nhost:\n  ", "event", d->host.event_ns, UNIT_NS);
    put_value(f, "\n  ", "action", d->host.action_ns, UNIT_NS);
    put_value(f, "\n  ", "dispatch", d->host.dispatch_ns, UNIT_NS);
    put_value(f, "\n  ", "notify", d->host.notify_ns, UNIT_NS);
    fputs("\n", f);
    put_source(f, "  ", d->host_source);
}

static void put_bus(FILE *f, const struct device *d)
{
    put_value(f, "\nbus:\n  ", "dram", d->dram_bytes_per_s, UNIT_BYTES_PER_S);
    fputs("\n", f);
    put_source(f, "  ", d->bus_source);
}

static void put_device(FILE *f, const struct device *d)
{
    fputs("schema: " DEVICE_SCHEMA "\n", f);
    put_text(f, "", "name", d->name);
    if (!d->operators) {
        put_text(f, "", "model", d->model);
        put_text(f, "", "numerics_id", d->numerics_id);
    }
    put_source(f, "", d->source);
    fputs("\nlimits:\n", f);
    put_source(f, "  ", d->limits_source);
    fprintf(f, "  rows: %" PRId32 "\n  context: %" PRId32 "\n", d->max_rows, d->max_ctx);
    fprintf(f, "  sequences: %" PRId32 "\n  topk: %" PRId32 "\n", d->max_seqs, d->max_topk);
    fprintf(f, "  trees: %s\n", d->features & EXEC_TREES ? "true" : "false");
    fprintf(f, "  copies: %s\n", d->features & EXEC_COPIES ? "true" : "false");
    put_host(f, d);
    if (d->operators)
        device_put_platform(f, &d->platform);
    else
        put_bus(f, d);
    put_facts(f, "exactness", d->exactness, d->n_exactness);
    put_facts(f, "measured", d->measured, d->n_measured);
    fputs(d->n_roles ? "\nroles:\n" : "\nroles: {}\n", f);
    for (int32_t i = 0; i < d->n_roles; i++)
        put_text(f, "  ", d->role[i].name, d->processor[d->role[i].processor].name);
    fputs("\nprocessors:\n", f);
    for (int32_t i = 0; i < d->n_processors; i++)
        put_processor(f, d, &d->processor[i]);
}

int device_save(const struct device *d, const char *path, struct err *e)
{
    if (*d->altered)
        return err_set(e, ERR_UNSUPPORTED,
                       "device '%s' was altered by --set (%s): only what was measured is saved",
                       d->name, d->altered);
    struct io_out o;
    int code = io_out_open(&o, path, e);
    if (code)
        return code;
    put_device(o.file, d);
    return io_out_close(&o, true, e);
}
