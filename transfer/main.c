/* sluice-transfer-*: host slots to where compute reads them. Knows slots; knows no layer and opens no file. */
#include "proto/stage/stage.h"
#include "transfer/backend.h"
#include "transfer/lane.h"

static void trace_freed(void *stage, enum lane_id lane, const struct ring_entry *x)
{
    stage_trace_entry(stage, 1, lane, x);
}

static int run(void *lanes, struct error *e)
{
    return lanes_run(lanes, e);
}

static int measure(void *backend, const struct control_message *ask, struct control_message *answer, struct error *e)
{
    uint64_t cpu_ns = stage_cpu_ns();
    int rc;

    if (ask->measure.what != MEASURE_COPY) return 0;
    rc = backend_peak(backend, ask->measure.limit_ns, &answer->measured.bytes, &answer->measured.ns, e);
    answer->measured.cpu_ns = stage_cpu_ns() - cpu_ns;
    return rc;
}

static int serve(struct stage *s, struct error *e)
{
    struct lanes_options o = {.plan = s->plan,
                              .run = s->run,
                              .arena_bytes = s->arena_bytes,
                              .cache_bytes = s->cache_bytes,
                              .freed = s->plan->run.trace ? trace_freed : NULL,
                              .freed_arg = s};
    struct lanes *lanes = NULL;
    int rc;

    if ((rc = backend_open(&o.backend, s, e))) return rc;
    s->measure = measure;
    s->measure_arg = o.backend;
    rc = lanes_open(&lanes, &o, e);
    if (!rc) rc = stage_attached(s, backend_describe(o.backend), e);
    if (!rc) rc = stage_serve(s, run, lanes, e);
    backend_close(o.backend);
    lanes_close(lanes);
    return rc;
}

int main(int argc, char **argv)
{
    struct error e = {0};
    struct stage s;
    int rc = stage_open(&s, STAGE_TRANSFER, argc, argv, &e);

    if (!rc) rc = serve(&s, &e);
    return stage_close(&s, rc, &e);
}
