/* The report of `tandem run` in its three formats. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/output.h"
#include "sim/base/json.h"
#include "sim/exec/metrics.h"

/* ---- for people ----------------------------------------------------------------------------- */

static const char *const table_columns[] = {"policy",  "requests", "tokens",     "TTFT ms",
                                            "TPOT ms", "E2E ms",   "tok/verify", "draft eff.",
                                            "speedup", "mJ/token", "busy",       NULL};

static const double MS = 1e6;

static void put_busy(struct output *o, const struct run_summary *s)
{
    char text[400] = "";
    size_t at = 0;
    for (int32_t i = 0; i < s->n_busy && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s %.1f%%", i ? " " : "",
                               s->busy[i].name, 100 * s->busy[i].share);
    output_text(o, text);
}

static void put_table_row(struct output *o, const struct run_summary *s)
{
    output_cell(o, "%s%s%s%s%s", s->policy->label, s->n_extrapolated > 0 ? " *" : "",
                s->needs_truth ? " !" : "", s->parametric ? " ?" : "", s->lossless ? "" : " ~");
    output_int(o, s->n_requests);
    output_int(o, s->n_output);
    output_number(o, "%.3f", s->ttft_ns_median / MS, "-");
    output_number(o, "%.3f", s->tpot_ns_median / MS, "-");
    output_number(o, "%.3f", s->e2e_ns_median / MS, "-");
    output_number(o, "%.3f", s->tokens_per_verify, "-");
    output_number(o, "%.3f", s->draft_efficiency, "-");
    output_number(o, "%.3f", s->speedup, "-");
    output_number(o, "%.3f", s->energy_pj_per_token / 1e9, "unknown");
    put_busy(o, s);
    output_end(o);
}

static void put_extrapolated(const struct run_summary *s, int32_t n, FILE *f)
{
    bool any = false;
    for (int32_t i = 0; i < n; i++)
        any = any || s[i].n_extrapolated > 0;
    if (!any)
        return;
    fputs("* cost outside what was measured (extrapolated):", f);
    const char *gap = "";
    for (int32_t i = 0; i < n; i++)
        if (s[i].n_extrapolated > 0) {
            fprintf(f, "%s %s %" PRId64 " of %" PRId64 " jobs", gap, s[i].policy->label,
                    s[i].n_extrapolated, s[i].n_jobs);
            gap = ",";
        }
    fputc('\n', f);
}

/* How often they do. */
static void put_lossy(const struct run_summary *s, int32_t n, FILE *f)
{
    const char *gap = "~ may give another text than the target alone";
    for (int32_t i = 0; i < n; i++) {
        if (s[i].lossless)
            continue;
        fputs(gap, f);
        gap = "";
        if (s[i].n_differ >= 0)
            fprintf(f, "; %s did for %" PRId32 " of %" PRId32 " requests", s[i].policy->label,
                    s[i].n_differ, s[i].n_requests);
    }
    if (!*gap)
        fputc('\n', f);
}

/* How warm it got, where that is known. */
static void put_heat(const struct run_summary *s, int32_t n, FILE *f)
{
    const char *gap = "heat: ";
    for (int32_t i = 0; i < n; i++)
        if (s[i].heat_known) {
            fprintf(f, "%s%s up to %.1f C, slowed for %.1f %% of its time", gap, s[i].policy->label,
                    (double)s[i].peak_mc / 1e3, 100 * s[i].slow_share);
            gap = "; ";
        }
    if (*gap == ';')
        fputc('\n', f);
}

/* What is known of an energy that is not known as a whole. */
static void put_work(const struct run_summary *s, int32_t n, FILE *f)
{
    const char *gap = "mJ/token while they worked, without idle power: ";
    for (int32_t p = 0; p < n; p++) {
        const char *label = s[p].policy->label;
        for (int32_t i = 0; i < s[p].n_busy && !s[p].energy_known; i++) {
            double pj = s[p].busy[i].work_pj_per_token;
            if (!(pj > 0))
                continue;
            fprintf(f, "%s%s%s%s %.3f", gap, label, *label ? " " : "", s[p].busy[i].name, pj / 1e9);
            label = "";
            gap = ", ";
        }
        gap = *gap == ',' ? "; " : gap;
    }
    if (*gap == ';')
        fputc('\n', f);
}

/* The mechanisms that the runs exercised: of energy and heat only where these were known. Returns
 * their number. */
static int32_t exercised(const struct run_report *r, const struct run_summary *s,
                         struct status out[STATUS_MECHANISMS])
{
    bool energy = false, heat = false;
    int32_t n = 0;
    for (int32_t i = 0; i < r->x->n_policies; i++) {
        energy = energy || s[i].energy_known;
        heat = heat || s[i].heat_known;
    }
    for (int32_t i = 0; i < r->n_status; i++) {
        const char *m = r->status[i].mechanism;
        bool of_energy = !strcmp(m, "power") || !strcmp(m, "energy per byte");
        if (of_energy ? energy : strcmp(m, "thermal") || heat)
            out[n++] = r->status[i];
    }
    return n;
}

static void put_status(const struct run_report *r, const struct run_summary *s, FILE *f)
{
    struct status status[STATUS_MECHANISMS];
    int32_t n = exercised(r, s, status);
    for (int32_t i = 0; i < n; i++)
        fprintf(f, "%s%s %s", i ? ", " : "rests on: ", status[i].mechanism, status[i].status);
    if (n)
        fprintf(f, "; the weakest: %s%s\n", status_weakest(status, n),
                strstr(r->device, "(altered)") ? ", and values set by hand" : "");
}

/* Which policies have roles of their own. */
static void put_own_roles(const struct run_report *r, FILE *f)
{
    const char *gap = "roles of their own: ";
    for (int32_t i = 0; i < r->x->n_policies && r->kind == WORLD_SIM; i++)
        if (r->x->policy[i].roles) {
            fprintf(f, "%s%s (%s)", gap, r->x->policy[i].label, r->x->policy[i].roles);
            gap = ", ";
        }
    if (*gap == ',')
        fputc('\n', f);
}

static void put_notes(const struct run_report *r, const struct run_summary *s, FILE *f)
{
    int32_t n = r->x->n_policies, degenerate = run_degenerate(r);
    bool truth = false, parametric = false;
    int64_t unknown = 0;
    double equal = run_tokens_equal(r);
    for (int32_t i = 0; i < n; i++) {
        truth = truth || s[i].needs_truth;
        parametric = parametric || s[i].parametric;
        unknown += s[i].n_unknown;
    }
    put_extrapolated(s, n, f);
    if (truth)
        fputs("! knows what the target will say: exists in simulation only\n", f);
    if (parametric)
        fputs("? its acceptance is a parameter, as a paper states it, and not a drafter's; a "
              "request's end cuts its last step\n",
              f);
    put_lossy(s, n, f);
    if (unknown)
        fprintf(f,
                "%" PRId64
                " choices under rejected tokens are not in the trace: policies saw none there\n",
                unknown);
    if (degenerate)
        fprintf(f,
                "%" PRId32 " of %" PRId32
                " requests have a text that repeats itself (distinct 4-grams under %.1f)\n",
                degenerate, r->n_requests, METRICS_DEGENERATE);
    if (equal < 1)
        fprintf(f, "texts of lossless policies DIFFER: equal for %.4f of the requests\n", equal);
    if (r->mixed && *r->device_numerics)
        fprintf(f, "numerics ids differ, as allowed: trace %s, device %s\n", r->numerics,
                r->device_numerics);
    else if (r->mixed)
        fprintf(f, "the text, and so acceptance, is another model's, as allowed: trace %s\n",
                r->numerics);
    put_own_roles(r, f);
    put_heat(s, n, f);
    put_work(s, n, f);
    put_status(r, s, f);
    if (*r->faults)
        fprintf(f, "with injected faults: %s\n", r->faults);
}

static int print_table(const struct run_report *r, const struct run_summary *s, FILE *f,
                       struct arena *arena)
{
    struct output o;
    fprintf(f, "%s: %s on %s, model %s%s%s\nmedians over requests; speedup: of the sum of E2E\n\n",
            r->x->name, world_kind_name(r->kind), r->device, r->model, *r->roles ? ", " : "",
            r->roles);
    output_init(&o, arena, table_columns);
    for (int32_t i = 0; i < r->x->n_policies; i++)
        put_table_row(&o, &s[i]);
    int rc = output_print(&o, OUTPUT_TABLE, f);
    fputc('\n', f);
    put_notes(r, s, f);
    return rc;
}

/* ---- CSV ------------------------------------------------------------------------------------ */

static const char *const csv_columns[] = {"label",
                                          "policy",
                                          "params",
                                          "drafters",
                                          "executor",
                                          "runs",
                                          "requests",
                                          "output_tokens",
                                          "ttft_ns_median",
                                          "tpot_ns_median",
                                          "e2e_ns_median",
                                          "e2e_ns_sum",
                                          "tokens_per_verify",
                                          "draft_efficiency",
                                          "speedup",
                                          "energy_pj_per_token",
                                          "jobs",
                                          "extrapolated_jobs",
                                          "unknown_choices",
                                          "degenerate",
                                          "needs_truth",
                                          "parametric",
                                          "lossless",
                                          "faults",
                                          NULL};

static void put_csv_row(struct output *o, const struct run_report *r, const struct run_summary *s)
{
    char params[600], drafters[600];
    output_text(o, s->policy->label);
    output_text(o, s->policy->type->name);
    output_text(o, param_format(s->policy->type->params, s->policy->param, params, sizeof params));
    output_text(o, experiment_drafters(s->policy, drafters, sizeof drafters));
    output_text(o, world_kind_name(r->kind));
    output_int(o, s->n_runs);
    output_int(o, s->n_requests);
    output_int(o, s->n_output);
    output_number(o, "%.0f", s->ttft_ns_median, "");
    output_number(o, "%.0f", s->tpot_ns_median, "");
    output_number(o, "%.0f", s->e2e_ns_median, "");
    output_int(o, s->e2e_ns_sum);
    output_number(o, "%.6f", s->tokens_per_verify, "");
    output_number(o, "%.6f", s->draft_efficiency, "");
    output_number(o, "%.6f", s->speedup, "");
    output_number(o, "%.0f", s->energy_pj_per_token, "unknown");
    output_number(o, "%.0f", s->n_jobs < 0 ? NAN : (double)s->n_jobs, "");
    output_number(o, "%.0f", s->n_extrapolated < 0 ? NAN : (double)s->n_extrapolated, "");
    output_int(o, s->n_unknown);
    output_int(o, s->n_degenerate);
    output_int(o, s->needs_truth);
    output_int(o, s->parametric);
    output_int(o, s->lossless);
    output_text(o, r->faults);
    output_end(o);
}

static int print_csv(const struct run_report *r, const struct run_summary *s, FILE *f,
                     struct arena *arena)
{
    struct output o;
    output_init(&o, arena, csv_columns);
    for (int32_t i = 0; i < r->x->n_policies; i++)
        put_csv_row(&o, r, &s[i]);
    return output_print(&o, OUTPUT_CSV, f);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void put_round(struct json_writer *w, const char *key, double v)
{
    if (isnan(v))
        json_null(w, key);
    else
        json_int(w, key, (int64_t)(v + 0.5));
}

static void put_count(struct json_writer *w, const char *key, int64_t v)
{
    if (v < 0)
        json_null(w, key);
    else
        json_int(w, key, v);
}

static void put_policy(struct json_writer *w, const struct run_summary *s)
{
    char text[600];
    json_object(w, NULL);
    json_string(w, "label", s->policy->label);
    json_string(w, "policy", s->policy->type->name);
    json_string(w, "params",
                param_format(s->policy->type->params, s->policy->param, text, sizeof text));
    json_string(w, "drafters", experiment_drafters(s->policy, text, sizeof text));
    json_bool(w, "needs_truth", s->needs_truth);
    json_bool(w, "parametric", s->parametric);
    json_bool(w, "lossless", s->lossless);
    json_int(w, "runs", s->n_runs);
    json_int(w, "requests", s->n_requests);
    json_int(w, "output_tokens", s->n_output);
    put_round(w, "ttft_ns_median", s->ttft_ns_median);
    put_round(w, "tpot_ns_median", s->tpot_ns_median);
    put_round(w, "e2e_ns_median", s->e2e_ns_median);
    json_int(w, "e2e_ns_sum", s->e2e_ns_sum);
    json_double(w, "tokens_per_verify", s->tokens_per_verify);
    json_double(w, "draft_efficiency", s->draft_efficiency);
    json_double(w, "speedup", s->speedup);
    put_round(w, "energy_pj_per_token", s->energy_pj_per_token);
    json_object(w, "busy");
    for (int32_t i = 0; i < s->n_busy; i++)
        json_double(w, s->busy[i].name, s->busy[i].share);
    json_close(w);
    json_object(w, "work_pj_per_token"); /* while it was busy; its idle power left out */
    for (int32_t i = 0; i < s->n_busy; i++)
        put_round(w, s->busy[i].name, s->busy[i].work_pj_per_token);
    json_close(w);
    put_count(w, "jobs", s->n_jobs);
    put_count(w, "extrapolated_jobs", s->n_extrapolated);
    json_int(w, "unknown_choices", s->n_unknown);
    json_int(w, "degenerate", s->n_degenerate);
    put_count(w, "texts_differ", s->n_differ);
    json_close(w);
}

/* What the times rest on; empty where they are measured. */
static void put_mechanisms(struct json_writer *w, const struct run_report *r,
                           const struct run_summary *s)
{
    struct status status[STATUS_MECHANISMS];
    int32_t n = exercised(r, s, status);
    json_object(w, "mechanisms");
    for (int32_t i = 0; i < n; i++)
        json_string(w, status[i].mechanism, status[i].status);
    json_close(w);
}

static const char *const part_keys[PARTS] = {"prefill_ns", "step_ns", "sample_ns",
                                             "draft_ns",   "host_ns", "other_ns"};

static void put_request(struct json_writer *w, const struct run_report *r, int32_t index,
                        const struct request_result *q)
{
    struct metrics m;
    metrics_of(q, &m);
    json_object(w, NULL);
    json_string(w, "id", r->name[index].id);
    json_string(w, "task", r->name[index].task);
    json_int(w, "prompt_tokens", r->n_prompt[index]);
    json_int(w, "output_tokens", q->n_output);
    json_bool(w, "finished", q->finished);
    json_bool(w, "cancelled", q->cancelled);
    json_int(w, "arrive_ns", q->arrive_ns);
    put_count(w, "first_ns", q->first_ns);
    put_count(w, "last_ns", q->last_ns);
    json_int(w, "finish_ns", q->finish_ns);
    put_count(w, "ttft_ns", m.ttft_ns);
    put_count(w, "e2e_ns", m.e2e_ns);
    put_round(w, "tpot_ns", m.tpot_ns);
    put_round(w, "tpot_with_prefill_ns", m.tpotp_ns);
    json_double(w, "tokens_per_verify", m.tokens_per_verify);
    json_double(w, "draft_efficiency", m.draft_efficiency);
    json_double(w, "distinct_4grams", m.distinct_4grams);
    json_int(w, "verify_steps", q->n_verify);
    json_int(w, "drafted", q->n_drafted);
    json_int(w, "accepted", q->n_accepted);
    json_int(w, "unknown_choices", q->n_unknown);
    for (int32_t i = 0; i < PARTS; i++)
        json_int(w, part_keys[i], q->part_ns[i]);
    json_array(w, "output");
    for (int32_t i = 0; i < q->n_output; i++)
        json_int(w, NULL, q->output[i]);
    json_close(w);
    json_close(w);
}

static void put_run(struct json_writer *w, const struct run_report *r, const struct run_outcome *o)
{
    char hash[24];
    int64_t pj = -1;
    energy_pj(o->energy, &pj);
    json_object(w, NULL);
    json_string(w, "label", o->policy->label);
    json_int(w, "seed", (int64_t)o->seed);
    json_int(w, "repetition", o->repetition);
    json_string(w, "executor", o->executor);
    if (o->log)
        json_string(w, "log", o->log);
    else
        json_null(w, "log");
    json_int(w, "end_ns", o->result.end_ns);
    json_int(w, "events", o->result.n_events);
    json_int(w, "actions", o->result.n_actions);
    snprintf(hash, sizeof hash, "%016" PRIx64, o->result.actions_hash);
    json_string(w, "actions_hash", hash);
    put_count(w, "energy_pj", pj);
    put_count(w, "peak_mc", o->heat_known ? o->peak_mc : -1);
    put_count(w, "slowed_ns", o->heat_known ? o->slow_ns : -1);
    put_count(w, "peak_resident_bytes", o->peak_resident_bytes);
    put_count(w, "jobs", o->n_jobs);
    put_count(w, "extrapolated_jobs", o->n_extrapolated);
    json_array(w, "requests");
    for (int32_t i = 0; i < o->result.n_requests; i++)
        put_request(w, r, i, &o->result.request[i]);
    json_close(w);
    json_close(w);
}

static int print_json(const struct run_report *r, const struct run_summary *s, FILE *f)
{
    struct json_writer w;
    json_writer_init(&w, f, 1);
    json_object(&w, NULL);
    json_string(&w, "experiment", r->x->name);
    json_string(&w, "executor", world_kind_name(r->kind));
    json_string(&w, "device", r->device);
    json_string(&w, "model", r->model);
    json_string(&w, "numerics_id", r->numerics);
    json_string(&w, "device_numerics_id", r->device_numerics);
    json_bool(&w, "mixed_numerics", r->mixed);
    json_bool(&w, "faults", *r->faults);
    if (*r->faults)
        json_string(&w, "fault_plan", r->faults);
    else
        json_null(&w, "fault_plan");
    json_string(&w, "roles", r->roles);
    json_string(&w, "version", r->version);
    json_double(&w, "tokens_equal", run_tokens_equal(r));
    put_mechanisms(&w, r, s);
    json_array(&w, "policies");
    for (int32_t i = 0; i < r->x->n_policies; i++)
        put_policy(&w, &s[i]);
    json_close(&w);
    json_array(&w, "runs");
    for (int32_t i = 0; i < r->n; i++)
        put_run(&w, r, &r->run[i]);
    json_close(&w);
    json_close(&w);
    int rc = json_line(&w);
    json_writer_fini(&w);
    return rc;
}

int output_report(const struct run_report *r, enum output_format format, FILE *f, struct err *e)
{
    struct run_summary *s = calloc((size_t)r->x->n_policies, sizeof *s);
    struct arena arena;
    int rc = s ? run_summarise(r, s, e) : err_set(e, ERR_NOMEM, "out of memory for a report");
    arena_init(&arena);
    if (!rc) {
        rc = format == OUTPUT_JSON  ? print_json(r, s, f)
             : format == OUTPUT_CSV ? print_csv(r, s, f, &arena)
                                    : print_table(r, s, f, &arena);
        if (rc)
            err_set(e, rc, "the report could not be written: %s", err_text(rc));
    }
    arena_fini(&arena);
    free(s);
    return rc;
}
