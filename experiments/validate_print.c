#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "experiments/command.h"
#include "experiments/validate.h"
#include "sim/base/json.h"

static const char *const part_name[PARTS] = {"prefill", "step", "sampling",
                                             "draft",   "host", "other"};

/* ---- table ---------------------------------------------------------------------------------- */

/* "-": what was not there to be measured, an order of no resolved pair, a time per token of one. */
static const char *or_none(double x, int decimals, char buf[16])
{
    if (isnan(x))
        return "-";
    snprintf(buf, 16, "%.*f", decimals, x);
    return buf;
}

static void row(FILE *f, const char *name, const struct val_reading *x)
{
    char median[16], p90[16];
    fprintf(f, "  %-24s %6.2f %6.2f %6.2f %+6.2f   %6.2f %6.2f   %6s %6s\n", name, x->e2e.median,
            x->e2e.p90, x->e2e.max, x->e2e.bias, x->ttft.median, x->ttft.p90,
            or_none(x->tpot.median, 2, median), or_none(x->tpot.p90, 2, p90));
}

static void print_policies(const struct validation *v, const struct val_report *r, FILE *f)
{
    fprintf(f, "\npredicted vs measured, end to end, noise-floor time, summed over %d prompts\n",
            r->prompts);
    fprintf(f, "  %-16s %12s %12s %8s %10s %9s %8s\n", "policy", "predicted ms", "measured ms",
            "error %", "|error| %", "tokens/v", "speed-up");
    double base = r->by_policy[0].measured_ns;
    char tokens[16];
    for (int32_t i = 0; i < r->policies; i++) {
        double a = r->by_policy[i].predicted_ns, b = r->by_policy[i].measured_ns;
        fprintf(f, "  %-16s %12.1f %12.1f %+8.2f %10.2f %9s %7.2fx%s\n", v->policy[i].label,
                a / 1e6, b / 1e6, 100 * (a / b - 1), r->by_policy[i].error_median_pct,
                or_none(r->by_policy[i].tokens_per_verify, 2, tokens), base / b,
                v->policy[i].lossless ? "" : " (not lossless)");
    }
    fprintf(f, "  %-16s %12.1f %12s %8s %10s %9s %7.2fx (simulated)\n", "oracle",
            r->oracle.ns / 1e6, "-", "-", "-", or_none(r->oracle.tokens_per_verify, 2, tokens),
            r->oracle.alone_ns / r->oracle.ns);
}

static void print_changes(const struct validation *v, const struct val_report *r, FILE *f)
{
    fprintf(f, "\ninterventions, predicted before they were measured: change of the end-to-end "
               "time\n");
    for (int32_t s = VAL_THREADS; s < VAL_SETTINGS; s++) {
        const struct val_change_report *c = &r->change[s];
        if (c->why_not)
            fprintf(f, "  %-24s not made: %s\n", c->what, c->why_not);
        for (int32_t i = 0; i < c->n; i++)
            fprintf(f, "  %-24s %-16s predicted %+8.2f %%, measured %+8.2f %%, error %+6.2f %%\n",
                    i ? "" : c->what, v->policy[c->by_policy[i].policy].label,
                    c->by_policy[i].predicted_pct, c->by_policy[i].measured_pct,
                    c->by_policy[i].error_pct);
        if (c->n && c->extrapolated)
            fprintf(f, "  %-24s extrapolated jobs %" PRId64 " of %" PRId64 "\n", "",
                    c->extrapolated, c->jobs);
    }
}

static void print_left_out(const char *what, const struct error_pct *x, FILE *f)
{
    if (isnan(x->median))
        fprintf(f, "%s - (nothing is left of them)", what);
    else
        fprintf(f, "%s %.2f %% (P90 %.2f)", what, x->median, x->p90);
}

/* The two ways to know what is accepted. */
static void print_acceptance(const struct val_report *r, FILE *f)
{
    static const char *const name[] = {"blind, of mean and P90", "  each task's mean",
                                       "  each task's P90"};
    const struct val_blind_report *b = &r->blind;
    const struct error_pct *x[] = {&b->error, &b->mean, &b->p90};
    char tau[16];
    fprintf(f, "\nacceptance, end to end           median    P90    max   bias    tau  regret\n");
    fprintf(f, "  %-28s %8.2f %6.2f %6.2f %+6.2f %6s %7.2f\n", "replayed, each request",
            r->noise.e2e.median, r->noise.e2e.p90, r->noise.e2e.max, r->noise.e2e.bias,
            or_none(r->tau, 3, tau), r->regret_pct);
    if (b->why_not)
        fprintf(f, "  %-28s not made: %s\n", "blind", b->why_not);
    for (int32_t i = 0; i < 3 && !b->why_not; i++) {
        fprintf(f, "  %-28s %8.2f %6.2f %6.2f %+6.2f", name[i], x[i]->median, x[i]->p90, x[i]->max,
                x[i]->bias);
        if (i == 0)
            fprintf(f, " %6s %7.2f", or_none(b->tau, 3, tau), b->regret_pct);
        fprintf(f, "\n");
    }
    if (!b->why_not)
        fprintf(f, "  %-28s from %d requests of the calibration split\n", "", b->requests);
}

static void print_table(const struct validation *v, const struct val_report *r, FILE *f)
{
    char tau[16];
    fprintf(f, "engine %s, model %s, %s\n", v->session.version, v->session.model,
            v->session.numerics);
    fprintf(f, "%d prompts (%d degenerate), %d policies, %d repetitions, %d calibration rounds\n",
            r->prompts, r->degenerate, r->policies, r->repetitions,
            v->n_rounds / v->plan.n_contexts);
    print_policies(v, r, f);
    fprintf(
        f, "\nerror of the prediction, percent    end to end               TTFT            TPOT\n");
    fprintf(f, "  %-24s %6s %6s %6s %6s   %6s %6s   %6s %6s\n", "reading", "median", "P90", "max",
            "bias", "median", "P90", "median", "P90");
    row(f, "noise floor, interleaved", &r->noise);
    fprintf(f, "  %-24s %.2f .. %.2f\n", "  95 % of its median", r->noise_median.low,
            r->noise_median.high);
    row(f, "noise floor, frozen", &r->noise_frozen);
    row(f, "raw, interleaved", &r->raw);
    row(f, "raw, frozen", &r->raw_frozen);
    fprintf(f, "  %-24s %6.2f %6.2f\n", "repetition floor", r->floor_median_pct, r->floor_p90_pct);
    fprintf(f, "\nby source, percent of end to end: median (P90)\n ");
    for (int32_t i = 0; i < PART_OTHER; i++)
        fprintf(f, " %s %.2f (%.2f)", part_name[i], r->source[i].median, r->source[i].p90);
    fprintf(f, "  sum %.2f (%.2f)\n", r->source_sum.median, r->source_sum.p90);
    print_acceptance(r, f);
    fprintf(f, "\nnegative controls, each must miss a bar\n");
    for (int32_t i = 0; i < VAL_CONTROLS; i++)
        fprintf(f, "  %-22s %-7s median %.2f %%, P90 %.2f %%, tau %s, regret %.2f %%\n",
                r->control[i].name, r->control[i].missed ? "missed" : "PASSED",
                r->control[i].reading.e2e.median, r->control[i].reading.e2e.p90,
                or_none(r->control[i].tau, 3, tau), r->control[i].regret_pct);
    print_left_out("\nleft out of the step table: widths", &r->left_out_width, f);
    print_left_out(", context buckets", &r->left_out_bucket, f);
    fputc('\n', f);
    print_changes(v, r, f);
    fprintf(f, "order: tau-b %s over %.0f %% of pairs resolved; regret %.2f %%\n",
            or_none(r->tau, 3, tau), 100 * r->resolved_pairs, r->regret_pct);
    fprintf(f,
            "texts equal %.3f, replay %s, simulated actions equal %.3f, extrapolated jobs "
            "%" PRId64 " of %" PRId64 "\n",
            r->tokens_equal, r->replay_equal ? "equal" : "DIFFERS", r->actions_equal,
            r->extrapolated, r->jobs);
    fprintf(f, "plain trees: %.3f of the texts diverge", r->divergence);
    if (!isnan(r->margin_median))
        fprintf(f, ", where the target's choice leads by %.3g logits (median; largest %.3g)",
                r->margin_median, r->margin_max);
    fprintf(f, "\n");
    fprintf(f, "machine: cell spread %.1f %%, drift up to %.1f %%, serial correlation %.2f\n",
            r->noise_of_machine.spread_pct, r->noise_of_machine.drift_pct,
            r->noise_of_machine.serial);
    fprintf(f, "verdict: %s%s%s\n", r->verdict, r->why[0] ? ": " : "", r->why);
}

/* ---- CSV: a row per pair -------------------------------------------------------------------- */

static void print_csv(const struct validation *v, const struct val_report *r, FILE *f)
{
    fprintf(f, "prompt,task,policy,degenerate,predicted_ns,measured_ns\n");
    for (int32_t i = 0; i < r->n_pairs; i++) {
        const struct val_pair *p = &r->pair[i];
        const struct val_prompt *q = &v->prompt[p->prompt];
        fprintf(f, "%s,%s,%s,%d,%.0f,%.0f\n", q->id, q->task, v->policy[p->policy].label,
                q->degenerate, p->predicted_ns, p->measured_ns);
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void put_error(struct json_writer *w, const char *key, const struct error_pct *x)
{
    json_object(w, key);
    json_double(w, "median", x->median);
    json_double(w, "p90", x->p90);
    json_double(w, "max", x->max);
    json_double(w, "bias", x->bias);
    json_close(w);
}

static void put_errors(struct json_writer *w, const struct val_report *r)
{
    put_error(w, "e2e_error_pct", &r->noise.e2e);
    json_object(w, "e2e_error_median_interval_pct");
    json_double(w, "low", r->noise_median.low);
    json_double(w, "high", r->noise_median.high);
    json_close(w);
    put_error(w, "e2e_error_raw_pct", &r->raw.e2e);
    put_error(w, "e2e_error_frozen_pct", &r->noise_frozen.e2e);
    put_error(w, "e2e_error_raw_frozen_pct", &r->raw_frozen.e2e);
    put_error(w, "ttft_error_pct", &r->noise.ttft);
    put_error(w, "ttft_error_raw_pct", &r->raw.ttft);
    put_error(w, "ttft_error_frozen_pct", &r->noise_frozen.ttft);
    put_error(w, "tpot_error_pct", &r->noise.tpot);
    put_error(w, "tpot_error_raw_pct", &r->raw.tpot);
    put_error(w, "tpot_error_frozen_pct", &r->noise_frozen.tpot);
    json_object(w, "floor_pct");
    json_double(w, "median", r->floor_median_pct);
    json_double(w, "p90", r->floor_p90_pct);
    json_close(w);
    json_object(w, "source_error_pct");
    for (int32_t i = 0; i < PART_OTHER; i++)
        json_double(w, part_name[i], r->source[i].median);
    json_double(w, "sum_median", r->source_sum.median);
    json_double(w, "sum_p90", r->source_sum.p90);
    json_close(w);
    put_error(w, "left_out_width_error_pct", &r->left_out_width);
    put_error(w, "left_out_bucket_error_pct", &r->left_out_bucket);
}

/* A tau is a number wherever pairs were compared: 0 where none is resolved, or none in order. */
static void put_order(struct json_writer *w, const char *tau_key, double tau, const char *pairs_key,
                      double pairs)
{
    json_double(w, tau_key, isnan(tau) && !isnan(pairs) ? 0 : tau);
    json_double(w, pairs_key, pairs);
}

static void put_blind(struct json_writer *w, const struct validation *v, const struct val_report *r)
{
    const struct val_blind_report *b = &r->blind;
    put_error(w, "blind_error_pct", &b->error);
    put_error(w, "blind_error_mean_pct", &b->mean);
    put_error(w, "blind_error_p90_pct", &b->p90);
    put_order(w, "blind_tau", b->tau, "blind_resolved_pairs", b->resolved_pairs);
    json_double(w, "blind_regret_pct", b->regret_pct);
    json_int(w, "blind_requests", b->requests);
    json_string(w, "blind_why_not", b->why_not ? b->why_not : "");
    json_array(w, "blind_by_task");
    for (int32_t i = 0; i < b->n_rows; i++) {
        json_object(w, NULL);
        json_string(w, "task", b->row[i].task);
        json_string(w, "policy", v->policy[b->row[i].policy].label);
        json_double(w, "predicted_mean_ns", b->row[i].predicted_mean_ns);
        json_double(w, "measured_mean_ns", b->row[i].measured_mean_ns);
        json_double(w, "predicted_p90_ns", b->row[i].predicted_p90_ns);
        json_double(w, "measured_p90_ns", b->row[i].measured_p90_ns);
        json_close(w);
    }
    json_close(w);
}

/* An intervention that was not made says why, and has no policies. */
static void put_changes(struct json_writer *w, const struct validation *v,
                        const struct val_report *r)
{
    static const char *const name[VAL_SETTINGS] = {"", "threads", "context"};
    json_object(w, "interventions");
    for (int32_t s = VAL_THREADS; s < VAL_SETTINGS; s++) {
        const struct val_change_report *c = &r->change[s];
        json_object(w, name[s]);
        json_string(w, "change", c->what);
        json_string(w, "why_not", c->why_not ? c->why_not : "");
        json_array(w, "by_policy");
        for (int32_t i = 0; i < c->n; i++) {
            json_object(w, NULL);
            json_string(w, "policy", v->policy[c->by_policy[i].policy].label);
            json_double(w, "predicted_change_pct", c->by_policy[i].predicted_pct);
            json_double(w, "measured_change_pct", c->by_policy[i].measured_pct);
            json_double(w, "error_pct", c->by_policy[i].error_pct);
            json_close(w);
        }
        json_close(w);
        if (c->n)
            put_error(w, "error_pct", &c->error);
        json_int(w, "extrapolated", c->extrapolated);
        json_int(w, "simulated_jobs", c->jobs);
        json_close(w);
    }
    json_close(w);
}

static int print_json(const struct validation *v, const struct val_report *r, FILE *f)
{
    struct json_writer w;
    const struct role_map *roles = &v->session.roles;
    char host[256];
    json_writer_init(&w, f, 2);
    json_object(&w, NULL);
    json_string(&w, "engine", v->session.version);
    json_string(&w, "device", v->frozen.name);
    json_object(&w, "roles");
    for (int32_t i = 0; i < roles->n; i++)
        json_string(&w, roles->item[i].role, roles->item[i].device);
    json_close(&w);
    json_string(&w, "host", command_host(host, sizeof host));
    json_string(&w, "model", v->session.model);
    json_string(&w, "numerics_id", v->session.numerics);
    json_int(&w, "prompts", r->prompts);
    json_int(&w, "prompts_degenerate", r->degenerate);
    json_array(&w, "policies");
    for (int32_t i = 0; i < r->policies; i++)
        json_string(&w, NULL, v->policy[i].label);
    json_close(&w);
    json_int(&w, "repetitions", r->repetitions);
    json_int(&w, "calibration_rounds", v->n_rounds / v->plan.n_contexts);
    put_errors(&w, r);
    put_order(&w, "kendall_tau", r->tau, "resolved_pairs", r->resolved_pairs);
    json_double(&w, "regret_pct", r->regret_pct);
    put_blind(&w, v, r);
    json_object(&w, "controls");
    for (int32_t i = 0; i < VAL_CONTROLS; i++)
        json_string(&w, r->control[i].name, r->control[i].missed ? "missed" : "passed");
    json_close(&w);
    put_changes(&w, v, r);
    json_double(&w, "tokens_equal", r->tokens_equal);
    json_double(&w, "divergence", r->divergence);
    json_double(&w, "divergence_margin_median", r->margin_median);
    json_double(&w, "divergence_margin_max", r->margin_max);
    json_double(&w, "actions_equal", r->actions_equal);
    json_bool(&w, "replay_equal", r->replay_equal);
    json_int(&w, "extrapolated", r->extrapolated);
    json_int(&w, "simulated_jobs", r->jobs);
    json_object(&w, "machine");
    json_double(&w, "cell_spread_pct", r->noise_of_machine.spread_pct);
    json_double(&w, "drift_pct", r->noise_of_machine.drift_pct);
    json_double(&w, "serial_correlation", r->noise_of_machine.serial);
    json_close(&w);
    json_array(&w, "by_policy");
    for (int32_t i = 0; i < r->policies; i++) {
        json_object(&w, NULL);
        json_string(&w, "policy", v->policy[i].label);
        json_double(&w, "predicted_ns", r->by_policy[i].predicted_ns);
        json_double(&w, "measured_ns", r->by_policy[i].measured_ns);
        json_double(&w, "tokens_per_verification", r->by_policy[i].tokens_per_verify);
        json_close(&w);
    }
    json_close(&w);
    json_object(&w, "oracle_ceiling"); /* simulated */
    json_double(&w, "predicted_ns", r->oracle.ns);
    json_double(&w, "tokens_per_verification", r->oracle.tokens_per_verify);
    json_double(&w, "vs_autoregressive", r->oracle.alone_ns / r->oracle.ns);
    json_close(&w);
    json_string(&w, "verdict", r->verdict);
    json_string(&w, "why", r->why);
    json_close(&w);
    int rc = json_line(&w);
    json_writer_fini(&w);
    return rc;
}

int validate_print(const struct validation *v, const struct val_report *r, enum val_format format,
                   FILE *out)
{
    if (format == VAL_JSON)
        return print_json(v, r, out);
    if (format == VAL_CSV)
        print_csv(v, r, out);
    else
        print_table(v, r, out);
    return ferror(out) ? ERR_IO : ERR_OK;
}
