/* sluice-reader: files to host slots. Knows extents; parses no format and knows no tensor's meaning. */
#include "proto/base/log.h"
#include "proto/stage/stage.h"
#include "reader/engine.h"
#ifdef SLUICE_FAULTS
#include "reader/engine_faults.h"
#endif
#include "reader/files.h"
#include "reader/probe.h"
#include "reader/stream.h"

static void trace_freed(void *stage, enum lane_id lane, const struct ring_entry *x)
{
    stage_trace_entry(stage, 0, lane, x);
}

static int run(void *stream, struct error *e)
{
    int rc = stream_find(stream, e);

    return rc ? rc : stream_run(stream, e);
}

#ifdef SLUICE_FAULTS
static int add_faults(struct stage *s, struct stream_options *o, uint32_t depth, struct error *e)
{
    struct faults what;
    int rc = s->fault ? faults_parse(&what, s->fault, s->run->epoch, e) : 0;

    if (rc || !s->fault) return rc;
    o->hang_ns = (uint64_t)(faults_value(&what, FAULT_PATIENCE, 0) * 1e9);
    return io_engine_faults_open(&o->engine, o->engine, &what, depth, e);
}
#else
static int add_faults(struct stage *s, struct stream_options *o, uint32_t depth, struct error *e)
{
    (void)s, (void)o, (void)depth, (void)e;
    return 0;
}
#endif

static int measure(void *probe, const struct control_message *ask, struct control_message *answer, struct error *e)
{
    struct probe_setting setting = {.block_bytes = ask->measure.block_bytes, .depth = ask->measure.depth};
    struct probe_result r;
    uint64_t cpu_ns = stage_cpu_ns();
    int rc;

    if (ask->measure.what != MEASURE_READ) return 0;
    if ((rc = probe_read(probe, &setting, ask->measure.limit_ns, &r, e))) return rc;
    answer->measured.bytes = r.bytes;
    answer->measured.ns = r.ns;
    answer->measured.cpu_ns = stage_cpu_ns() - cpu_ns;
    return 0;
}

static int compare(void *stream, uint32_t file, struct error *e)
{
    return stream_compare(stream, file, e);
}

static int serve(struct stage *s, struct error *e)
{
    struct io_options eo = stream_engine_options(s->plan, s->arena);
    struct stream_options so = {.plan = s->plan,
                                .run = s->run,
                                .arena = s->arena,
                                .cache = s->cache,
                                .freed_arg = s,
                                .freed = s->plan->run.trace ? trace_freed : NULL};
    struct stream *stream = NULL;
    struct probe probe = {0};
    uint32_t engine;
    int rc;

    if ((rc = files_engine(s->plan, &engine, e))) return rc;
    stage_lock_slots(s);
    s->measure = s->plan->run.io_find == IO_FIND_ON_WISH ? measure : NULL;
    s->measure_arg = &probe;
    if ((rc = io_engine_open(&so.engine, engine, &eo, e))) return rc;
    if ((rc = add_faults(s, &so, eo.depth, e))) return rc;
    rc = stream_open(&stream, &so, e);
    s->compare = compare;
    s->compare_arg = stream;
    if (!rc && s->measure) rc = probe_open(&probe, s->plan, e);
    if (!rc && io_engine_seal(so.engine)) log_debug("io_uring of this kernel cannot be restricted to reads");
    if (!rc) rc = stage_attached(s, stream_describe(stream), e);
    if (!rc) rc = stage_serve(s, run, stream, e);
    io_engine_close(so.engine);
    stream_close(stream);
    probe_close(&probe);
    return rc;
}

int main(int argc, char **argv)
{
    struct error e = {0};
    struct stage s;
    int rc = stage_open(&s, STAGE_READER, argc, argv, &e);

    if (!rc) rc = serve(&s, &e);
    return stage_close(&s, rc, &e);
}
