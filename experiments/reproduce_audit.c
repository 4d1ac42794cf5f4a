/* tandem reproduce audit: whether what was published holds together. Each check computes from
 * published numbers alone (experiments/published/audit.yaml), prints its arithmetic and gives a
 * row for each number that a published one can be held against. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "experiments/line.h"
#include "experiments/published.h"
#include "experiments/reproduce.h"

/* ---- what was published --------------------------------------------------------------------- */

enum { Q15, Q05, L3, MODELS };

static const char *const model_name[MODELS] = {"Qwen2.5-1.5B", "Qwen2.5-0.5B", "LLaMA3.2-3B"};

/* ms per output token */
struct ablation {
    double npu, g, sd, g_sd, ours;
};

struct audit {
    struct ablation t3[MODELS];
    double size_gb[MODELS];
    double sam, ours, proxy_sam,
        proxy_ours; /* tokens per verification; the proxy is the 1B model */
    struct published_range vs_npu, vs_npu_summary, vs_cpu, vs_cpu_summary, vs_sam;
    double prefill_rate, calibration_ms, prompt_tokens;
    double short_n, short_ms, long_n, long_ms, best_n, usual_n, loss_pct; /* Fig 6 */
    double fig5_accepted, fig5_printed_n, fig5_likely_n, fig5_ms;
    struct published_range decode_share_pct, reduction; /* Fig 13 */
    double one_b_rate, llm_npu_s, user_rate, load_1b_s, load_1b_gb, load_3b_s, load_3b_gb;
    double switch_share_pct, switch_delay_pct;
    struct published_range llm_npu_tokens;
};

#define VALUE(path, unit, member)                                                                  \
    {                                                                                              \
        (path), (unit), offsetof(struct audit, member), false                                      \
    }
#define RANGE(path, unit, member)                                                                  \
    {                                                                                              \
        (path), (unit), offsetof(struct audit, member), true                                       \
    }
#define ROW(key, m)                                                                                \
    VALUE("table3." key ".npu", "ms/token", t3[m].npu),                                            \
        VALUE("table3." key ".g", "ms/token", t3[m].g),                                            \
        VALUE("table3." key ".sd", "ms/token", t3[m].sd),                                          \
        VALUE("table3." key ".g_sd", "ms/token", t3[m].g_sd),                                      \
        VALUE("table3." key ".ours", "ms/token", t3[m].ours),                                      \
        VALUE("models." key, "GB", size_gb[m])

static const struct published_field fields[] = {
    ROW("q15", Q15),
    ROW("q05", Q05),
    ROW("l3", L3),
    VALUE("table4.q15_sam", "tokens/verification", sam),
    VALUE("table4.q15_ours", "tokens/verification", ours),
    VALUE("table4.l1_sam", "tokens/verification", proxy_sam),
    VALUE("table4.l1_ours", "tokens/verification", proxy_ours),
    RANGE("prose.vs_npu", "x", vs_npu),
    RANGE("prose.vs_npu_summary", "x", vs_npu_summary),
    RANGE("prose.vs_cpu", "x", vs_cpu),
    RANGE("prose.vs_cpu_summary", "x", vs_cpu_summary),
    RANGE("prose.vs_sam", "x", vs_sam),
    VALUE("prose.prefill", "tokens/s", prefill_rate),
    VALUE("prose.calibration", "ms/token", calibration_ms),
    VALUE("fig6.short_length", "tokens", short_n),
    VALUE("fig6.short", "ms/token", short_ms),
    VALUE("fig6.long_length", "tokens", long_n),
    VALUE("fig6.long", "ms/token", long_ms),
    VALUE("fig6.best_length", "tokens", best_n),
    VALUE("fig6.usual_length", "tokens", usual_n),
    VALUE("fig6.loss", "percent", loss_pct),
    VALUE("fig5.accepted", "tokens/verification", fig5_accepted),
    VALUE("fig5.printed_length", "tokens", fig5_printed_n),
    VALUE("fig5.likely_length", "tokens", fig5_likely_n),
    VALUE("fig5.decode", "ms/token", fig5_ms),
    RANGE("fig13.decode_share", "percent", decode_share_pct),
    RANGE("fig13.reduction", "x", reduction),
    VALUE("prompt.tokens", "tokens", prompt_tokens),
    VALUE("elsewhere.one_b_decode", "tokens/s", one_b_rate),
    RANGE("elsewhere.llm_npu_tokens", "tokens", llm_npu_tokens),
    VALUE("elsewhere.llm_npu_prefill", "s", llm_npu_s),
    VALUE("elsewhere.user_prefill", "tokens/s", user_rate),
    VALUE("elsewhere.load_1b", "s", load_1b_s),
    VALUE("elsewhere.load_1b_size", "GB", load_1b_gb),
    VALUE("elsewhere.load_3b", "s", load_3b_s),
    VALUE("elsewhere.load_3b_size", "GB", load_3b_gb),
    VALUE("elsewhere.switch_share", "percent", switch_share_pct),
    VALUE("elsewhere.switch_delay", "percent", switch_delay_pct),
    {.path = NULL}};

/* ---- saying it ------------------------------------------------------------------------------ */

/* Published numbers have two decimals: sums of two of them agree within this. */
#define ROUNDING 0.0101

static const char HOLDS[] = "holds", CONTRADICTS[] = "contradicts", CAUTION[] = "caution";

static const char *const columns[] = {"target",    "cell",    "published", "simulated",
                                      "error_pct", "role",    "reading",   "low",
                                      "high",      "verdict", NULL};

struct check {
    struct reproduce_context *c;
    int number;
    const char *verdict;
};

static struct check begin(struct reproduce_context *c, int number, const char *title,
                          const char *verdict)
{
    reproduce_note(c, "\n%2d. %s: %s\n", number, title, verdict);
    return (struct check){.c = c, .number = number, .verdict = verdict};
}

/* What the arithmetic gives, against the published number (and its range, or NAN). */
static void row(const struct check *k, const char *what, const char *model, double published,
                double computed, double low, double high)
{
    struct output *o = k->c->rows;
    output_text(o, "audit");
    output_cell(o, "check %d, %s%s%s", k->number, what, *model ? ", " : "", model);
    output_number(o, "%.6g", published, "");
    output_number(o, "%.6g", computed, "");
    output_number(o, "%.2f", 100 * (computed / published - 1), "");
    output_text(o, "shown");
    output_text(o, "zero-fit");
    output_number(o, "%.6g", low, "");
    output_number(o, "%.6g", high, "");
    output_text(o, k->verdict);
    output_end(o);
}

#define SAY(k, ...) reproduce_note((k)->c, "    " __VA_ARGS__)

/* ---- 1: what a token's latency is ----------------------------------------------------------- */

static void additive_saving(struct reproduce_context *c, const struct audit *a)
{
    int equal = 0;
    double alone[MODELS], with_sd[MODELS];
    for (int m = 0; m < MODELS; m++) {
        alone[m] = a->t3[m].npu - a->t3[m].g;
        with_sd[m] = a->t3[m].sd - a->t3[m].g_sd;
        equal += fabs(alone[m] - with_sd[m]) < ROUNDING;
    }
    struct check k =
        begin(c, 1, "latency per token includes prefill and switch, over output tokens",
              equal >= 2 ? HOLDS : CONTRADICTS);
    for (int m = 0; m < MODELS; m++) {
        SAY(&k, "%s: NPU - (+G) = %.2f - %.2f = %.2f; (+SD) - (+G+SD) = %.2f - %.2f = %.2f\n",
            model_name[m], a->t3[m].npu, a->t3[m].g, alone[m], a->t3[m].sd, a->t3[m].g_sd,
            with_sd[m]);
        row(&k, "saving of +G with SD as without", model_name[m], alone[m], with_sd[m], NAN, NAN);
    }
    SAY(&k, "equal to 0.01 in %d of %d rows: +G saves an amount per request. Were it per step,\n",
        equal, MODELS);
    SAY(&k, "SD would divide it by its acceptance: %.2f / %.2f = %.2f for %s. Independent runs\n",
        alone[Q15], a->sam, alone[Q15] / a->sam, model_name[Q15]);
    SAY(&k, "would hardly agree to 0.01 twice: +G+SD looks computed where it does\n");
}

/* ---- 2: the headline, and the CPU ----------------------------------------------------------- */

static void headline(struct reproduce_context *c, const struct audit *a)
{
    double ratio = a->t3[Q15].npu / a->t3[Q15].ours;
    bool same = fabs(ratio - a->vs_npu.high) < 0.01;
    int slower = 0;
    for (int m = 0; m < MODELS; m++)
        slower += a->vs_cpu_summary.high * a->t3[m].ours < a->t3[m].g_sd;
    struct check k = begin(c, 2, "the headline is one cell, and CPU decoding beats most others",
                           same && slower ? HOLDS : CONTRADICTS);
    SAY(&k, "%s: NPU / Ours = %.2f / %.2f = %.3f, published at most %.2f (summary %.2f)\n",
        model_name[Q15], a->t3[Q15].npu, a->t3[Q15].ours, ratio, a->vs_npu.high,
        a->vs_npu_summary.high);
    row(&k, "largest gain over NPU vanilla", model_name[Q15], a->vs_npu.high, ratio, a->vs_npu.low,
        a->vs_npu.high);
    for (int m = 0; m < MODELS; m++) {
        double low = a->vs_cpu_summary.low * a->t3[m].ours;
        double high = a->vs_cpu_summary.high * a->t3[m].ours;
        SAY(&k,
            "%s: CPU vanilla = %.2f..%.2f x %.2f = %.1f..%.1f ms/token, +G+SD %.2f: the CPU %s\n",
            model_name[m], a->vs_cpu_summary.low, a->vs_cpu_summary.high, a->t3[m].ours, low, high,
            a->t3[m].g_sd,
            high < a->t3[m].g_sd  ? "is faster"
            : low > a->t3[m].g_sd ? "is slower"
                                  : "may be either");
        row(&k, "slowest CPU vanilla against +G+SD", model_name[m], a->t3[m].g_sd, high, low, high);
    }
    SAY(&k, "against the CPU the best gain is %.2fx\n", a->vs_cpu.high);
}

/* ---- 3: the line of Fig 6 ------------------------------------------------------------------- */

/* A verification of n tokens takes fixed + slope * n ms. */
static struct line fig6_line(const struct audit *a)
{
    return line_through(a->short_n, a->short_ms * a->short_n, a->long_n, a->long_ms * a->long_n);
}

static void fig6(struct reproduce_context *c, const struct audit *a)
{
    struct line l = fig6_line(a);
    double usual = a->usual_n / line_at(l, a->usual_n), best = a->best_n / line_at(l, a->best_n);
    double loss = 100 * (1 - usual / best);
    double printed = line_at(l, a->fig5_printed_n) / a->fig5_accepted;
    double likely = line_at(l, a->fig5_likely_n) / a->fig5_accepted;
    bool misprint = fabs(likely / a->fig5_ms - 1) < 0.2 && fabs(printed / a->fig5_ms - 1) > 0.2;
    struct check k = begin(c, 3, "Fig 6 is a straight line, of a slow device; Fig 5's chunk is 128",
                           fabs(loss - a->loss_pct) < 2 && misprint ? HOLDS : CONTRADICTS);
    SAY(&k, "t(%.0f) = %.1f, t(%.0f) = %.0f x %.1f = %.1f ms: t(n) = %.1f + %.3f n ms\n",
        a->short_n, a->short_ms * a->short_n, a->long_n, a->long_n, a->long_ms,
        a->long_ms * a->long_n, l.fixed, l.slope);
    SAY(&k,
        "throughput at %.0f over that at %.0f: %.4f / %.4f = %.1f %%, published %.0f %% lower\n",
        a->usual_n, a->best_n, usual, best, 100 * usual / best, a->loss_pct);
    row(&k, "loss of short drafts, percent", "", a->loss_pct, loss, NAN, NAN);
    SAY(&k, "its slope is %.0f tokens/s of prefill, published over %.0f\n", 1000 / l.slope,
        a->prefill_rate);
    row(&k, "prefill rate of the slope, tokens/s", "", a->prefill_rate, 1000 / l.slope, NAN, NAN);
    SAY(&k, "Fig 5 with %.1f accepted: t(%.0f) gives %.1f, t(%.0f) %.1f ms/token, published %.0f\n",
        a->fig5_accepted, a->fig5_printed_n, printed, a->fig5_likely_n, likely, a->fig5_ms);
    row(&k, "Fig 5 decode as printed, ms/token", "", a->fig5_ms, printed, NAN, NAN);
    row(&k, "Fig 5 decode at chunk 128, ms/token", "", a->fig5_ms, likely, NAN, NAN);
}

/* ---- 4: acceptance against latency ---------------------------------------------------------- */

static void acceptance(struct reproduce_context *c, const struct audit *a)
{
    const struct ablation *t = &a->t3[Q15];
    double step = (t->g_sd - t->ours) / (1 / a->sam - 1 / a->ours);
    double prefill = t->g_sd - step / a->sam, gain = a->ours / a->sam;
    struct check k = begin(c, 4, "Table 4's acceptance cannot explain Table 3's gain",
                           prefill < 0 ? HOLDS : CONTRADICTS);
    SAY(&k, "%s: %.2f = P + V / %.2f and %.2f = P + V / %.2f give V = %.1f, P = %.1f ms: %s\n",
        model_name[Q15], t->g_sd, a->sam, t->ours, a->ours, step, prefill,
        prefill < 0 ? "no prefill takes less than nothing" : "possible");
    for (int m = 0; m < MODELS; m++) {
        double ratio = a->t3[m].g_sd / a->t3[m].ours;
        SAY(&k, "%s: latency ratio %.2f / %.2f = %.2f, of which acceptance explains %.2f%s\n",
            model_name[m], a->t3[m].g_sd, a->t3[m].ours, ratio, gain,
            m == Q15 ? "" : " at most, if as for 1.5B");
        row(&k, "gain of Ours over +G+SD", model_name[m], ratio, gain, NAN, NAN);
    }
    for (int p = 5; p <= 9; p += 4)
        SAY(&k, "with P = %d ms a SAM step costs %.2f times one of Ours\n", p,
            (t->g_sd - p) / (t->ours - p) / gain);
}

/* ---- 5: calibration ------------------------------------------------------------------------- */

static void calibration(struct reproduce_context *c, const struct audit *a)
{
    double ms = a->calibration_ms * a->prompt_tokens, outputs = ms / a->t3[Q05].ours;
    double rate = 1000 / a->calibration_ms;
    struct check k = begin(c, 5, "2 ms per input token is not negligible on the critical path",
                           rate < a->prefill_rate ? HOLDS : CONTRADICTS);
    SAY(&k, "%.0f tokens x %.0f ms = %.0f ms a request; at %.2f ms/token of %s that alone is the\n",
        a->prompt_tokens, a->calibration_ms, ms, a->t3[Q05].ours, model_name[Q05]);
    SAY(&k, "whole latency of %.0f output tokens. It is %.0f tokens/s beside prefill's %.0f: it\n",
        outputs, rate, a->prefill_rate);
    SAY(&k,
        "either overlaps, on another processor and slower than prefill, or the unit is wrong\n");
    row(&k, "input tokens per second", "", a->prefill_rate, rate, NAN, NAN);
}

/* ---- 6, 7: ranges --------------------------------------------------------------------------- */

static void sam_range(struct reproduce_context *c, const struct audit *a)
{
    double largest = 0;
    int at = 0;
    for (int m = 0; m < MODELS; m++)
        if (a->t3[m].sd / a->t3[m].ours > largest) {
            largest = a->t3[m].sd / a->t3[m].ours;
            at = m;
        }
    struct check k = begin(c, 6, "Table 3 lies in the stated range over SAM",
                           largest <= a->vs_sam.high + 0.005 ? HOLDS : CONTRADICTS);
    SAY(&k, "%s: %.2f / %.2f = %.2f, published %.2f..%.2f\n", model_name[at], a->t3[at].sd,
        a->t3[at].ours, largest, a->vs_sam.low, a->vs_sam.high);
    row(&k, "largest gain over SAM", model_name[at], a->vs_sam.high, largest, a->vs_sam.low,
        a->vs_sam.high);
}

/* Decode's reduction when `share` percent of NPU vanilla is decode and +G saves in the rest. */
static double reduction(const struct ablation *t, double share)
{
    double decode = t->npu * share / 100;
    double rest = t->npu - decode - (t->npu - t->g);
    return decode / (t->ours - rest);
}

static void decode_reduction(struct reproduce_context *c, const struct audit *a)
{
    const struct ablation *t = &a->t3[Q15];
    double high = reduction(t, a->decode_share_pct.low);
    double low = reduction(t, a->decode_share_pct.high);
    bool meets = low <= a->reduction.high && high >= a->reduction.low;
    struct check k = begin(c, 7, "the reduction of decode time fits the decode share",
                           meets ? HOLDS : CONTRADICTS);
    for (int i = 0; i < 2; i++) {
        double share = i ? a->decode_share_pct.high : a->decode_share_pct.low;
        double decode = t->npu * share / 100, rest = t->g - decode;
        SAY(&k,
            "share %.0f %%: decode %.2f, rest after +G %.2f - %.2f = %.2f, so %.2f / %.2f = "
            "%.2fx\n",
            share, decode, t->g, decode, rest, decode, t->ours - rest, reduction(t, share));
    }
    SAY(&k, "published on another phone (OnePlus 13): %.2f..%.2fx\n", a->reduction.low,
        a->reduction.high);
    row(&k, "least reduction of decode", model_name[Q15], a->reduction.low, low, a->reduction.low,
        a->reduction.high);
    row(&k, "largest reduction of decode", model_name[Q15], a->reduction.high, high,
        a->reduction.low, a->reduction.high);
}

/* ---- 8, 9, 10: neighbours ------------------------------------------------------------------- */

static void weak_baseline(struct reproduce_context *c, const struct audit *a)
{
    double plain = 1000 / a->one_b_rate;
    struct check k =
        begin(c, 8, "a public NPU decoder without speculation is about as fast as sd.npu", CAUTION);
    SAY(&k, "Llama-3.2-1B, 8 Gen 3, W4A16: 1000 / %.1f = %.1f ms/token; sd.npu, %s: %.2f. Other\n",
        a->one_b_rate, plain, model_name[Q15], a->t3[Q15].ours);
    SAY(&k, "model, phone and quantisation, prefill left out: a caution, not a verdict\n");
    row(&k, "plain public decoder of 1B, ms/token", "", a->t3[Q15].ours, plain, NAN, NAN);
}

static void slow_phone(struct reproduce_context *c, const struct audit *a)
{
    struct line l = fig6_line(a);
    double low = a->llm_npu_tokens.low / a->llm_npu_s, high = a->llm_npu_tokens.high / a->llm_npu_s;
    double slope = 1000 / l.slope;
    struct check k = begin(c, 9, "the K70 Pro of one paper is that of another of the same group",
                           slope < low / 2 ? CONTRADICTS : HOLDS);
    SAY(&k,
        "llm.npu: %.0f..%.0f tokens in %.2f s = %.0f..%.0f tokens/s (1.8B); Fig 6: %.0f (1.5B),\n",
        a->llm_npu_tokens.low, a->llm_npu_tokens.high, a->llm_npu_s, low, high, slope);
    SAY(&k, "if it is that phone (check 3); a user's 8 Gen 3: %.0f\n", a->user_rate);
    row(&k, "prefill of the K70 Pro, tokens/s", "", (low + high) / 2, slope, low, high);
    row(&k, "prefill of a user's 8 Gen 3, tokens/s", "", (low + high) / 2, a->user_rate, low, high);
}

static void load_time(struct reproduce_context *c, const struct audit *a)
{
    double rate_1b = a->load_1b_gb / a->load_1b_s, rate_3b = a->load_3b_gb / a->load_3b_s;
    double slow = a->size_gb[Q15] / fmin(rate_1b, rate_3b);
    double fast = a->size_gb[Q15] / fmax(rate_1b, rate_3b);
    double saved = a->t3[Q15].npu - a->t3[Q15].g;
    struct check k =
        begin(c, 10, "a load time that is nowhere published, from neighbours", CAUTION);
    SAY(&k, "ExecuTorch: %.2f GB / %.3f s = %.2f GB/s, %.2f GB / %.2f s = %.2f GB/s; so %.2f GB\n",
        a->load_1b_gb, a->load_1b_s, rate_1b, a->load_3b_gb, a->load_3b_s, rate_3b,
        a->size_gb[Q15]);
    SAY(&k, "of %s load in %.1f..%.1f s. +G saves %.2f ms/token: all of it is hidden at\n",
        model_name[Q15], fast, slow, saved);
    SAY(&k, "%.0f..%.0f output tokens\n", 1000 * fast / saved, 1000 * slow / saved);
    double of_decode = 100 * saved / (a->t3[Q15].npu - saved);
    double of_all = 100 * saved / a->t3[Q15].g;
    SAY(&k, "%.2f is %.1f %% of what is left of NPU vanilla; published: %.0f %% of decode (v4),\n",
        saved, of_decode, a->switch_share_pct);
    SAY(&k, "%.1f %% of end to end (v3): not the same experiment\n", a->switch_delay_pct);
    row(&k, "switch as a share, v4, percent", model_name[Q15], a->switch_share_pct, of_decode, NAN,
        NAN);
    row(&k, "switch as a delay, v3, percent", model_name[Q15], a->switch_delay_pct, of_all, NAN,
        NAN);
}

/* ---- 11: bytes ------------------------------------------------------------------------------ */

static void saving_by_bytes(struct reproduce_context *c, const struct audit *a)
{
    double base = a->t3[Q15].npu - a->t3[Q15].g, worst = 1;
    double saved[MODELS], expected[MODELS];
    for (int m = 0; m < MODELS; m++) {
        saved[m] = a->t3[m].npu - a->t3[m].g;
        expected[m] = base * a->size_gb[m] / a->size_gb[Q15];
        worst = fmax(worst, fmax(expected[m] / saved[m], saved[m] / expected[m]));
    }
    struct check k = begin(c, 11, "+G's saving grows with the bytes to be loaded",
                           worst < 2 ? HOLDS : CONTRADICTS);
    for (int m = 0; m < MODELS; m++) {
        if (m == Q15)
            continue;
        SAY(&k,
            "%s: %.2f GB / %.2f GB x %.2f = %.2f ms/token, published %.2f (with SD %.2f): %.1f "
            "times\n",
            model_name[m], a->size_gb[m], a->size_gb[Q15], base, expected[m], saved[m],
            a->t3[m].sd - a->t3[m].g_sd, expected[m] / saved[m]);
        SAY(&k, "as many output tokens as %s would explain it, if all loads are exposed\n",
            model_name[Q15]);
        row(&k, "saving of +G by bytes", model_name[m], saved[m], expected[m], NAN, NAN);
    }
}

/* ---- 12: overflow --------------------------------------------------------------------------- */

static void overflow(struct reproduce_context *c, const struct audit *a)
{
    const struct ablation *t = &a->t3[Q15], *l = &a->t3[L3];
    double step1 = (t->g - t->g_sd) / (1 - 1 / a->sam), pre1 = t->g - step1;
    double ours1 = pre1 + step1 / a->ours;
    double step2 = (t->g_sd - t->ours) / (2 / a->sam - 1 / a->ours),
           pre2 = t->ours - step2 / a->ours;
    double g2 = pre2 + step2;
    double step3 = (l->g - l->g_sd) / (1 - 1 / a->proxy_sam), pre3 = l->g - step3;
    double ours3 = pre3 + step3 / a->proxy_ours;
    bool fits = (fabs(ours1 / t->ours - 1) < 0.1 || fabs(g2 / t->g - 1) < 0.1) &&
                fabs(ours3 / l->ours - 1) < 0.1;
    struct check k = begin(c, 12, "one number of passes per SAM draft explains all models",
                           fits ? HOLDS : CONTRADICTS);
    SAY(&k,
        "%s, one pass: step (%.2f - %.2f) / (1 - 1/%.2f) = %.2f, prefill %.2f, so Ours = %.1f,\n",
        model_name[Q15], t->g, t->g_sd, a->sam, step1, pre1, ours1);
    SAY(&k, "published %.2f\n", t->ours);
    row(&k, "Ours with one pass", model_name[Q15], t->ours, ours1, NAN, NAN);
    SAY(&k, "two passes: step %.2f, prefill %.2f, so +G = %.1f, published %.2f\n", step2, pre2, g2,
        t->g);
    row(&k, "+G with two passes", model_name[Q15], t->g, g2, NAN, NAN);
    SAY(&k,
        "%s with 1B's acceptance, one pass: step %.2f, prefill %.2f, Ours %.1f, published %.2f\n",
        model_name[L3], step3, pre3, ours3, l->ours);
    row(&k, "Ours with one pass and 1B's acceptance", model_name[L3], l->ours, ours3, NAN, NAN);
    double v = t->g - t->ours, step = v / (1 - 1 / a->ours), pre = t->g - step;
    SAY(&k, "any number: from +G and Ours of %s, step %.2f, prefill %.2f; +G+SD then needs %.2f\n",
        model_name[Q15], step, pre, (t->g_sd - pre) * a->sam / step);
    SAY(&k, "passes per draft: `tandem reproduce table3` looks for what explains that\n");
}

/* ---- 13: the null predictor ----------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void null_predictor(struct reproduce_context *c, const struct audit *a)
{
    double error[3 * MODELS];
    int n = 0;
    double gain = round(100 * a->ours / a->sam) / 100;
    for (int m = 0; m < MODELS; m++) {
        const struct ablation *t = &a->t3[m];
        error[n++] = 100 * fabs(t->npu / t->g - 1);
        error[n++] = 100 * fabs(t->sd / t->g_sd - 1);
        error[n++] = 100 * fabs(t->sd / gain / t->ours - 1);
    }
    qsort(error, (size_t)n, sizeof *error, by_size);
    struct check k = begin(c, 13, "guessing that nothing happens is hard to beat on the median",
                           error[n / 2] < 5 && error[n - 1] > 50 ? HOLDS : CONTRADICTS);
    SAY(&k, "+G = NPU, +G+SD = +SD, Ours = +SD / %.2f: median %.1f %%, worst %.0f and %.0f %%\n",
        gain, error[n / 2], error[n - 2], error[n - 1]);
    for (int m = 0; m < MODELS; m++) {
        const struct ablation *t = &a->t3[m];
        row(&k, "null +G", model_name[m], t->g, t->npu, NAN, NAN);
        row(&k, "null +G+SD", model_name[m], t->g_sd, t->sd, NAN, NAN);
        row(&k, "null Ours", model_name[m], t->ours, t->sd / gain, NAN, NAN);
    }
    for (int m = 0; m < MODELS; m++) {
        double sum = a->t3[m].sd - (a->t3[m].npu - a->t3[m].g);
        SAY(&k, "%s: (+SD) - (NPU - (+G)) = %.2f, +G+SD %.2f: %s\n", model_name[m], sum,
            a->t3[m].g_sd,
            fabs(sum - a->t3[m].g_sd) < ROUNDING ? "the cell says nothing of its own"
                                                 : "a number of its own");
    }
}

/* ---- all ------------------------------------------------------------------------------------ */

static int run(struct reproduce_context *c, struct err *e)
{
    static void (*const check[])(struct reproduce_context *, const struct audit *) = {
        additive_saving, headline,         fig6,          acceptance, calibration,
        sam_range,       decode_reduction, weak_baseline, slow_phone, load_time,
        saving_by_bytes, overflow,         null_predictor};
    char path[512];
    struct audit a;
    int rc = reproduce_file("audit", path, sizeof path, e);
    if (!rc)
        rc = published_read(path, "audit", fields, &a, c->arena, e);
    for (size_t i = 0; i < sizeof check / sizeof *check && !rc; i++)
        check[i](c, &a);
    if (!rc)
        reproduce_note(c, "\n");
    return rc;
}

const struct reproduction reproduce_audit = {
    .name = "audit",
    .source = "arXiv 2510.15312: consistency of what was published",
    .summary = "13 checks of published numbers against each other",
    .files_only = true,
    .columns = columns,
    .run = run};
