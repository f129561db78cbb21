/* A control message as it comes from a socket; what is understood is encoded again, and must be the same message. */
#include "proto/control.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static uint64_t touched; /* so that reads are not optimized away */

static void touch(const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) touched += ((const uint8_t *)data)[i];
}

/* Everything that a message leads to can be read. */
static void read_all(const struct control_message *m)
{
    switch (m->type) {
    case CONTROL_HELLO: touched += strlen(m->hello.build); return;
    case CONTROL_EXPORT:
        if (m->export.bytes > CONTROL_BLOB_MAX || m->export.to >= STAGES) fuzz_fail("an export beyond its limits");
        touch(m->export.data, m->export.bytes);
        return;
    case CONTROL_ATTACHED: touched += strlen(m->attached.text); return;
    case CONTROL_SWEEP: touch(m->sweep.position, m->sweep.count * sizeof *m->sweep.position); return;
    case CONTROL_TRACE:
        if (m->trace.count > CONTROL_TRACE_MAX) fuzz_fail("more records than a message holds");
        touch(m->trace.record, m->trace.count * sizeof *m->trace.record);
        return;
    case CONTROL_ERROR: touched += strlen(m->error.text); return;
    default: return;
    }
}

static void run(const uint8_t *data, size_t bytes)
{
    static struct control_scratch scratch, again_scratch;
    struct control_message m, again;
    struct error e = {0};
    void *out, *twice;
    size_t n, k;

    if (control_decode(&m, data, bytes, &scratch, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
        return;
    }
    read_all(&m);
    if (control_encode(&m, &out, &n, &e)) fuzz_fail("a message that was understood cannot be sent");
    if (control_decode(&again, out, n, &again_scratch, &e)) fuzz_fail("a message that was sent is not understood");
    read_all(&again);
    if (control_encode(&again, &twice, &k, &e) || k != n || memcmp(out, twice, n))
        fuzz_fail("a message changes on its way");
    free(out);
    free(twice);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const struct sweep_position positions[2] = {{1, 0, 0, 0, ROW_NONE, 0, 0},
                                                       {2, 0, 1, 1, 0, POSITION_LOGITS, 1}};
    static const struct trace_record records[2] = {{.sweep = 1, .bytes = 4096, .tile = 3}, {.lane = 1}};
    static const uint8_t blob[64] = {1, 2, 3};
    const struct control_message m[] = {
        {.type = CONTROL_HELLO, .hello = {CONTROL_VERSION, STAGE_COMPUTE, 4711, "0.1.0"}},
        {.type = CONTROL_SETUP, .setup = {10, 11, 12, 13, -1}},
        {.type = CONTROL_EXPORT, .export = {STAGE_TRANSFER, 1, sizeof blob, blob}},
        {.type = CONTROL_ATTACHED, .attached = {"avx2, 2 threads"}},
        {.type = CONTROL_SWEEP, .sweep = {3, 7, 2, 2, positions}},
        {.type = CONTROL_DONE, .done = {UINT64_C(1) << 60, 2}},
        {.type = CONTROL_TRACE, .trace = {2, 0, records}},
        {.type = CONTROL_ERROR, .error = {5, 0, "model.safetensors: offset 12: input/output error"}},
        {.type = CONTROL_STOP},
    };
    struct error e;
    void *out;
    size_t n;

    for (size_t i = 0; i < sizeof m / sizeof *m; i++) {
        if (control_encode(&m[i], &out, &n, &e)) fuzz_fail(e.text);
        emit(arg, out, n);
        free(out);
    }
}

const struct fuzz_target fuzz_control = {"control", run, seeds, -1};
