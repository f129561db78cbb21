/* The compute stage: device memory, kernels, KV cache, activations. Tokens in, logits out; sees neither text nor files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/decoder.h"
#include "compute/exchange.h"
#include "compute/speeds.h"

#ifdef SLUICE_FAULTS
#include "proto/base/faults.h"

static int meet_faults(struct stage *s, uint64_t sweep, struct error *e)
{
    struct faults what;
    int rc = s->fault ? faults_parse(&what, s->fault, s->run->epoch, e) : 0;

    if (rc || !s->fault || !faults_meet(&what, FAULT_LOST, sweep, sweep + 1)) return rc;
    return error_set(e, CONTROL_DEVICE_LOST, "the device was lost at sweep %llu (a fault on purpose)",
                     (unsigned long long)sweep);
}
#else
static int meet_faults(struct stage *s, uint64_t sweep, struct error *e)
{
    (void)s, (void)sweep, (void)e;
    return 0;
}
#endif

static int serve(struct stage *s, struct decoder *d, struct error *e)
{
    struct control_message m, done = {.type = CONTROL_DONE};
    int rc;

    if ((rc = decoder_load(d, e))) return rc;
    for (;;) {
        rc = stage_receive(s, &m, -1, e);
        if (rc == -EAGAIN) continue;
        if (rc) return rc;
        if (m.type == CONTROL_MEASURE) {
            if ((rc = stage_measure(s, &m, e))) return rc;
            continue;
        }
        if (m.type != CONTROL_SWEEP)
            return error_set(e, EPROTO, "control: compute got a message of type %d", (int)m.type);
        done.done.sweep = m.sweep.sweep;
        if ((rc = meet_faults(s, m.sweep.sweep, e))) return rc;
        rc = decoder_sweep(d, &m.sweep, &done.done.logits, e);
        if (rc) return rc;
        if ((rc = stage_send(s, &done, e))) return rc;
        stage_send_traces(s); /* while the coordinator chooses the next token */
    }
}

/* `--probe N [--speeds]`: no stage, only a line about the device, and one about what it was seen to do. */
static int probe(const char *device, bool speeds)
{
    uint32_t number = (uint32_t)strtoul(device, NULL, 10);
    struct device_facts f;
    struct device_speeds s;
    struct error e = {0};

    if (ops_device_facts(&f, number, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    device_facts_print(&f, stdout);
    if (speeds && !ops_device_speeds(&s, number, &e)) device_speeds_print(&s, stdout);
    return 0;
}

struct peaks {
    struct ops *ops;
    uint64_t most_bytes;
};

static int measure(void *arg, const struct control_message *ask, struct control_message *answer, struct error *e)
{
    const struct peaks *p = arg;
    bool memory = ask->measure.what == MEASURE_MEMORY;
    uint64_t cpu_ns = stage_cpu_ns();
    int rc;

    if (!memory && ask->measure.what != MEASURE_FLOPS) return 0;
    rc = ops_peak(p->ops, memory ? OPS_PEAK_MEMORY : OPS_PEAK_FLOPS, p->most_bytes, ask->measure.limit_ns,
                  &answer->measured.bytes, &answer->measured.ns, e);
    answer->measured.cpu_ns = stage_cpu_ns() - cpu_ns;
    return rc;
}

int main(int argc, char **argv)
{
    struct stage s;
    struct decoder d = {0};
    struct ops *ops = NULL;
    struct peaks peaks;
    struct error e = {0};
    int rc;

    if (argc >= 3 && argc <= 4 && !strcmp(argv[1], "--probe"))
        return probe(argv[2], argc == 4 && !strcmp(argv[3], "--speeds"));
    rc = stage_open(&s, STAGE_COMPUTE, argc, argv, &e);
    if (!rc) {
        struct ops_options o = {.threads = s.plan->run.threads,
                                .device = s.plan->run.device,
                                .scratch_bytes = footprint_scratch(s.plan, &s.plan->run)};
        rc = ops_open(&ops, &o, &e);
    }
    if (!rc) {
        peaks = (struct peaks){.ops = ops, .most_bytes = s.plan->run.peak_bytes};
        s.measure = measure;
        s.measure_arg = &peaks;
    }
    if (!rc) rc = decoder_open(&d, &s, ops, &e);
    if (!rc) rc = exchange_compute(&s, &d, &e);
    if (!rc) rc = stage_attached(&s, ops_describe(ops), &e);
    if (!rc) rc = serve(&s, &d, &e);
    decoder_close(&d);
    ops_close(ops);
    return stage_close(&s, rc, &e);
}
