#include "coordinator/profile/stub.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/profile/stub_source.h"
#include "proto/ring.h"
#include "proto/epoch.h"

#define NAP_NS      20000000u
#define STUB_STAGES 2

struct stub_stage {
    struct stub *stub;
    enum stage_id eventcount; /* of the stage that it stands in for: what it sleeps on */
    bool (*step)(struct stub_stage *);
    pthread_t thread;
    bool started;
    _Atomic bool resting;
};

struct stub {
    struct epoch_shm *run;
    const struct plan_shm *plan;
    struct stub_stage stage[STUB_STAGES];
    _Atomic bool go, end;
    struct latency latency;
    uint64_t bytes;
    struct stub_source *source;
    /* sink and hand-on */
    struct ring take[LANES]; /* where entries are given back */
    uint64_t asked, came;    /* experts' tiles */
    uint64_t random;
    uint32_t expert_tile, expert_left; /* of the expert that is being asked for */
};

/* ---- what the stub stages do: true when there was something to do ---- */

static bool take_back(struct stub *p, enum lane_id lane)
{
    struct ring_entry *x;
    bool did = false;

    while ((x = ring_take(&p->take[lane]))) {
        latency_add(&p->latency, x->ready_ns - x->fill_ns);
        p->bytes += x->bytes;
        if (x->tile != RING_GATHER && x->tile >= p->plan->spec.sweep_tiles + p->plan->spec.resident_tiles) p->came++;
        ring_release(&p->take[lane]);
        did = true;
    }
    return did;
}

static uint32_t next_random(struct stub *p, uint64_t n)
{
    p->random = p->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((p->random >> 33) % n);
}

/* As compute would: all tiles of one expert after the other. */
static bool ask_experts(struct stub *p)
{
    uint64_t tables = p->plan->experts.count, most = p->plan->run.reader_slots[LANE_REQUEST];
    bool did = false;

    while (p->plan->spec.demand_tiles && p->asked - p->came < most) {
        if (!p->expert_left) {
            uint32_t table = next_random(p, tables);
            const struct plan_expert_tiles *t = &plan_expert_tiles(p->plan)[table];

            p->expert_tile = t->tile0 + next_random(p, plan_experts(p->plan)[table].experts) * t->each;
            p->expert_left = t->each;
        }
        if (request_push(p->run, p->expert_tile)) break;
        p->expert_tile++;
        p->expert_left--;
        p->asked++;
        did = true;
    }
    return did;
}

static bool step_sink(struct stub_stage *a)
{
    struct stub *p = a->stub;
    bool did = ask_experts(p);

    for (int lane = 0; lane < LANES; lane++) did |= take_back(p, (enum lane_id)lane);
    return did;
}

static bool step_take(struct stub_stage *a)
{
    bool did = false;

    for (int lane = 0; lane < LANES; lane++) did |= take_back(a->stub, (enum lane_id)lane);
    return did;
}

static bool step_sweep(struct stub_stage *a)
{
    return stub_source_sweep(a->stub->source);
}

static bool step_requests(struct stub_stage *a)
{
    return stub_source_requests(a->stub->source);
}

static void *stub_main(void *arg)
{
    struct stub_stage *a = arg;
    struct stub *p = a->stub;
    struct eventcount *eventcount = &p->run->eventcount[a->eventcount];

    while (!atomic_load(&p->end)) {
        uint32_t seen = eventcount_read(eventcount);
        bool go = atomic_load(&p->go);

        atomic_store(&a->resting, !go);
        /* A stub stage with two eventcounts to listen to (releases ring transfer's, requests the reader's) looks again soon. */
        if (!go || !a->step(a))
            eventcount_wait(eventcount, seen,
                            p->source && a->step == step_requests && stub_source_stuck(p->source) ? 100000u : NAP_NS);
    }
    atomic_store(&a->resting, true);
    return NULL;
}

/* ---- life ---- */

static int start(struct stub *p, int i, enum stage_id eventcount, bool (*step)(struct stub_stage *), struct error *e)
{
    struct stub_stage *a = &p->stage[i];
    int rc;

    *a = (struct stub_stage){.stub = p, .eventcount = eventcount, .step = step, .resting = true};
    rc = pthread_create(&a->thread, NULL, stub_main, a);
    if (rc) return error_set(e, rc, "cannot start a thread: %s", error_name(rc));
    a->started = true;
    return 0;
}

static int start_players(struct stub *p, enum stub_kind kind, struct engine *engine, struct error *e)
{
    int device = kind == STUB_SOURCE && p->plan->run.backend == BACKEND_CPU, rc;
    enum stage_id before = device ? STAGE_TRANSFER : STAGE_READER; /* the one whose ring is written */

    for (int i = 0; i < LANES; i++)
        ring_attach(&p->take[i], p->run, kind == STUB_HAND_ON, (enum lane_id)i,
                    kind == STUB_HAND_ON ? STAGE_TRANSFER : STAGE_READER);
    if (kind == STUB_SINK) return start(p, 0, STAGE_TRANSFER, step_sink, e);
    if ((rc = stub_source_open(&p->source, engine, p->plan, device, e))) return rc;
    if ((rc = start(p, 0, before, step_sweep, e))) return rc;
    return kind == STUB_SOURCE ? start(p, 1, STAGE_READER, step_requests, e) : start(p, 1, STAGE_COMPUTE, step_take, e);
}

int stub_open(struct stub **out, enum stub_kind kind, struct engine *engine, const struct plan_shm *plan,
              struct error *e)
{
    struct stub *p = calloc(1, sizeof *p);
    int rc;

    *out = p;
    if (!p) return error_set(e, ENOMEM, "out of memory");
    p->run = engine_epoch(engine);
    p->plan = plan;
    p->random = 1;
    rc = start_players(p, kind, engine, e);
    if (rc) {
        stub_close(p);
        *out = NULL;
    }
    return rc;
}

static void notify_eventcounts(struct stub *p)
{
    for (int i = 0; i < STUB_STAGES; i++)
        if (p->stage[i].started) eventcount_notify(&p->run->eventcount[p->stage[i].eventcount]);
}

void stub_close(struct stub *p)
{
    if (!p) return;
    atomic_store(&p->end, true);
    notify_eventcounts(p);
    for (int i = 0; i < STUB_STAGES; i++)
        if (p->stage[i].started) pthread_join(p->stage[i].thread, NULL);
    stub_source_close(p->source);
    free(p);
}

void stub_go(struct stub *p)
{
    memset(&p->latency, 0, sizeof p->latency);
    p->bytes = 0;
    atomic_store(&p->go, true);
    notify_eventcounts(p);
}

void stub_pause(struct stub *p)
{
    atomic_store(&p->go, false);
    notify_eventcounts(p);
    for (int i = 0; i < STUB_STAGES; i++)
        while (p->stage[i].started && !atomic_load(&p->stage[i].resting)) sched_yield();
    if (p->source) stub_source_latency(p->source, &p->latency);
}

const struct latency *stub_latency(const struct stub *p)
{
    return &p->latency;
}

uint64_t stub_bytes(const struct stub *p)
{
    return p->bytes;
}
