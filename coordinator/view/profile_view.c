#include "coordinator/view/profile_view.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

/* ---- for people ---- */

static void row(const char *name, double rate, double ceiling, double share, const struct profile_lane *l)
{
    printf("%-9s %8.3f", name, rate / 1e9);
    if (ceiling > 0)
        printf(" %8.3f %5.0f%%", ceiling / 1e9, 100 * share);
    else
        printf(" %8s %6s", "-", "-");
    if (l) printf(" %10.4f %6.0f%% %6.0f%%", l->cpu_seconds_per_gb, 100 * l->busy, 100 * l->waiting);
    putchar('\n');
}

static const char *time_text(uint64_t ns, char out[24])
{
    if (ns < 10000u)
        snprintf(out, 24, "%llu ns", (unsigned long long)ns);
    else if (ns < 10000000u)
        snprintf(out, 24, "%.1f us", (double)ns / 1e3);
    else
        snprintf(out, 24, "%.1f ms", (double)ns / 1e6);
    return out;
}

static void latencies(const struct profile *p)
{
    char a[24], b[24], c[24], d[24];

    printf("\n%-9s %10s %12s %12s %12s %12s\n", "per tile", "tiles", "p50", "p90", "p99", "max");
    for (int i = 0; i < STAGES; i++) {
        const struct latency *l = &p->lane[i].latency;

        if (p->lane[i].seen)
            printf("%-9s %10llu %12s %12s %12s %12s\n", stage_name((enum stage_id)i), (unsigned long long)l->count,
                   time_text(latency_at(l, 0.5), a), time_text(latency_at(l, 0.9), b),
                   time_text(latency_at(l, 0.99), c), time_text(l->max_ns, d));
    }
}

void profile_print(const struct profile *p)
{
    printf("%-9s %8s %8s %6s %10s %7s %7s\n", "", "GB/s", "ceiling", "share", "CPU s/GB", "busy", "waits");
    for (int i = 0; i < STAGES; i++) {
        const struct profile_lane *l = &p->lane[i];

        if (l->seen) row(stage_name((enum stage_id)i), l->bytes_per_second, l->peak, l->share, l);
    }
    if (p->what == PROFILE_PIPELINE) row("pipeline", p->bytes_per_second, p->peak, p->share, NULL);
    latencies(p);
    putchar('\n');
    for (int i = 0; i < STAGES; i++) {
        const struct profile_lane *l = &p->lane[i];

        if (!l->seen) continue;
        printf("%s: %s\n", stage_name((enum stage_id)i), l->about);
        if (l->peak_of[0]) printf("  ceiling: %s\n", l->peak_of);
    }
    if (p->flops > 0)
        printf("%u positions at once: %.1f GFLOP/s, %.0f%% of %.1f\n", p->positions, p->flops / 1e9,
               p->flops_peak > 0 ? 100 * p->flops / p->flops_peak : 0, p->flops_peak / 1e9);
    if (p->seconds_per_token > 0) printf("%.4g s a token\n", p->seconds_per_token);
    if (p->bottleneck[0]) printf("bottleneck: %s\n", p->bottleneck);
    if (p->advice[0]) printf("%s\n", p->advice);
    printf("(medians of %u rounds; %.1f s in all)\n", p->rounds, p->seconds);
}

/* ---- for programs ---- */

static json_t *lane_json(const struct profile_lane *l, double rate, double ceiling, double share, double cpu)
{
    const struct latency *t = &l->latency;

    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:I,s:I,s:{s:f,s:f,s:f,s:f},s:s,s:s}", "bytes_per_second", rate,
                     "ceiling_bytes_per_second", ceiling, "share", share, "cpu_seconds_per_gb", cpu, "busy", l->busy,
                     "waiting", l->waiting, "bytes", (json_int_t)l->bytes, "tiles", (json_int_t)l->tiles,
                     "tile_seconds", "p50", (double)latency_at(t, 0.5) / 1e9, "p90", (double)latency_at(t, 0.9) / 1e9,
                     "p99", (double)latency_at(t, 0.99) / 1e9, "max", (double)t->max_ns / 1e9, "about", l->about,
                     "peak_of", l->peak_of);
}

static json_t *lane_own_json(const struct profile_lane *l)
{
    return lane_json(l, l->bytes_per_second, l->peak, l->share, l->cpu_seconds_per_gb);
}

static json_t *pipeline_json(const struct profile *p)
{
    json_t *o =
        json_pack("{s:f,s:f,s:f,s:f,s:f,s:s,s:s}", "bytes_per_second", p->bytes_per_second, "ceiling_bytes_per_second",
                  p->peak, "share", p->share, "cpu_seconds_per_gb", p->cpu_seconds_per_gb, "seconds_per_token",
                  p->seconds_per_token, "bottleneck", p->bottleneck, "advice", p->advice);

    for (int i = 0; i < STAGES; i++)
        if (p->lane[i].seen) json_object_set_new(o, stage_name((enum stage_id)i), lane_own_json(&p->lane[i]));
    return o;
}

int profile_print_json(const struct profile *p, struct error *e)
{
    json_t *o = json_object(), *x = p->what == PROFILE_PIPELINE ? pipeline_json(p) : lane_own_json(&p->lane[p->what]);
    int rc = 0;

    if (p->io_depth)
        json_object_update_new(
            x, json_pack("{s:I,s:i}", "io_block", (json_int_t)p->io_block, "io_depth", (int)p->io_depth));
    if (p->flops > 0)
        json_object_update_new(x, json_pack("{s:i,s:f,s:f}", "positions", (int)p->positions, "flops", p->flops,
                                            "peak_flops", p->flops_peak));
    json_object_set_new(x, "rounds", json_integer(p->rounds));
    json_object_set_new(x, "seconds", json_real(p->seconds));
    json_object_set_new(o, profile_name(p->what), x);
    if (json_dumpf(o, stdout, JSON_INDENT(2)) || putchar('\n') == EOF)
        rc = error_set(e, EIO, "cannot write the profile");
    json_decref(o);
    return rc;
}
