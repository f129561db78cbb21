#include "reader/tune.h"

#define MIB     (UINT64_C(1) << 20)
#define ROUNDS  2u
#define EACH_NS UINT64_C(25000000) /* and the time that the reads under way then still take */
#define MARGIN  1.05

/* The likely ones, least memory first; a plan's ring has room for any of them. */
static const struct probe_setting settings[] = {{4 * MIB, 8}, {MIB, 16}, {4 * MIB, 16}, {8 * MIB, 8}};
#define SETTINGS (sizeof settings / sizeof *settings)

int tune(struct probe *p, struct tune_result *out, struct error *e)
{
    double bytes[SETTINGS] = {0}, ns[SETTINGS] = {0}, best = 0;
    struct probe_result r;
    int rc = 0;

    *out = (struct tune_result){0};
    for (uint32_t round = 0; round < ROUNDS && !rc; round++)
        for (uint32_t i = 0; i < SETTINGS && !rc; i++) {
            if (settings[i].depth > p->plan->run.io_depth) continue; /* the engine was opened for fewer */
            if (settings[i].depth * settings[i].block_bytes > p->plan->run.probe_bytes) continue;
            if ((rc = probe_read(p, &settings[i], EACH_NS, &r, e))) break;
            bytes[i] += (double)r.all_bytes;
            ns[i] += (double)r.all_ns;
        }
    for (uint32_t i = 0; i < SETTINGS && !rc; i++) {
        double rate = ns[i] > 0 ? bytes[i] / (ns[i] / 1e9) : 0;

        if (rate <= (out->depth ? best * MARGIN : 0)) continue;
        best = rate;
        *out = (struct tune_result){settings[i].block_bytes, (uint64_t)rate, settings[i].depth};
    }
    return rc;
}
