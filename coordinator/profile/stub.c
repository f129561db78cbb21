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

#define NAP_NS  20000000u
#define PLAYERS 2

struct player {
    struct play *play;
    enum run_stage bell; /* of the stage that it plays: what it sleeps on */
    bool (*step)(struct player *);
    pthread_t thread;
    bool started;
    _Atomic bool resting;
};

struct play {
    struct run_shm *run;
    const struct plan_shm *plan;
    struct player player[PLAYERS];
    _Atomic bool go, end;
    struct latency latency;
    uint64_t bytes;
    struct play_source *source;
    /* sink and hand-on */
    struct ring take[LANES]; /* where entries are given back */
    uint64_t asked, came;    /* experts' tiles */
    uint64_t random;
    uint32_t expert_tile, expert_left; /* of the expert that is being asked for */
};

/* ---- what the players do: true when there was something to do ---- */

static bool take_back(struct play *p, enum run_lane lane)
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

static uint32_t next_random(struct play *p, uint64_t n)
{
    p->random = p->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((p->random >> 33) % n);
}

/* As compute would: all tiles of one expert after the other. */
static bool ask_experts(struct play *p)
{
    uint64_t tables = p->plan->experts.count, most = p->plan->run.reader_slots[LANE_REQUEST];
    bool did = false;

    while (p->plan->spec.expert_tiles && p->asked - p->came < most) {
        if (!p->expert_left) {
            const struct plan_experts *x = &plan_experts(p->plan)[next_random(p, tables)];

            p->expert_tile = x->tile0 + next_random(p, x->experts) * x->tiles_each;
            p->expert_left = x->tiles_each;
        }
        if (request_push(p->run, &(struct run_request){.kind = REQUEST_TILE, .index = p->expert_tile})) break;
        p->expert_tile++;
        p->expert_left--;
        p->asked++;
        did = true;
    }
    return did;
}

static bool step_sink(struct player *a)
{
    struct play *p = a->play;
    bool asked = ask_experts(p), sweep = take_back(p, LANE_SWEEP), request = take_back(p, LANE_REQUEST);

    return asked || sweep || request;
}

static bool step_take(struct player *a)
{
    bool sweep = take_back(a->play, LANE_SWEEP), request = take_back(a->play, LANE_REQUEST);

    return sweep || request;
}

static bool step_sweep(struct player *a)
{
    return play_source_sweep(a->play->source);
}

static bool step_requests(struct player *a)
{
    return play_source_requests(a->play->source);
}

static void *player_main(void *arg)
{
    struct player *a = arg;
    struct play *p = a->play;
    struct bell *bell = &p->run->bell[a->bell];

    while (!atomic_load(&p->end)) {
        uint32_t seen = bell_read(bell);
        bool go = atomic_load(&p->go);

        atomic_store(&a->resting, !go);
        /* A player with two bells to listen to (releases ring transfer's, requests the reader's) looks again soon. */
        if (!go || !a->step(a))
            bell_wait(bell, seen,
                      p->source && a->step == step_requests && play_source_stuck(p->source) ? 100000u : NAP_NS);
    }
    atomic_store(&a->resting, true);
    return NULL;
}

/* ---- life ---- */

static int start(struct play *p, int i, enum run_stage bell, bool (*step)(struct player *), struct error *e)
{
    struct player *a = &p->player[i];
    int rc;

    *a = (struct player){.play = p, .bell = bell, .step = step, .resting = true};
    rc = pthread_create(&a->thread, NULL, player_main, a);
    if (rc) return error_set(e, rc, "cannot start a thread: %s", error_name(rc));
    a->started = true;
    return 0;
}

static int start_players(struct play *p, enum play_kind kind, struct engine *engine, struct error *e)
{
    int device = kind == PLAY_SOURCE && p->plan->run.backend == BACKEND_CPU, rc;
    enum run_stage before = device ? STAGE_TRANSFER : STAGE_READER; /* the one whose ring is written */

    for (int i = 0; i < LANES; i++)
        ring_attach(&p->take[i], p->run, kind == PLAY_HAND_ON, (enum run_lane)i,
                    kind == PLAY_HAND_ON ? STAGE_TRANSFER : STAGE_READER);
    if (kind == PLAY_SINK) return start(p, 0, STAGE_TRANSFER, step_sink, e);
    if ((rc = play_source_open(&p->source, engine, p->plan, device, e))) return rc;
    if ((rc = start(p, 0, before, step_sweep, e))) return rc;
    return kind == PLAY_SOURCE ? start(p, 1, STAGE_READER, step_requests, e) : start(p, 1, STAGE_COMPUTE, step_take, e);
}

int play_open(struct play **out, enum play_kind kind, struct engine *engine, const struct plan_shm *plan,
              struct error *e)
{
    struct play *p = calloc(1, sizeof *p);
    int rc;

    *out = p;
    if (!p) return error_set(e, ENOMEM, "out of memory");
    p->run = engine_run(engine);
    p->plan = plan;
    p->random = 1;
    rc = start_players(p, kind, engine, e);
    if (rc) {
        play_close(p);
        *out = NULL;
    }
    return rc;
}

static void ring_bells(struct play *p)
{
    for (int i = 0; i < PLAYERS; i++)
        if (p->player[i].started) bell_ring(&p->run->bell[p->player[i].bell]);
}

void play_close(struct play *p)
{
    if (!p) return;
    atomic_store(&p->end, true);
    ring_bells(p);
    for (int i = 0; i < PLAYERS; i++)
        if (p->player[i].started) pthread_join(p->player[i].thread, NULL);
    play_source_close(p->source);
    free(p);
}

void play_go(struct play *p)
{
    memset(&p->latency, 0, sizeof p->latency);
    p->bytes = 0;
    atomic_store(&p->go, true);
    ring_bells(p);
}

void play_pause(struct play *p)
{
    atomic_store(&p->go, false);
    ring_bells(p);
    for (int i = 0; i < PLAYERS; i++)
        while (p->player[i].started && !atomic_load(&p->player[i].resting)) sched_yield();
    if (p->source) play_source_latency(p->source, &p->latency);
}

const struct latency *play_latency(const struct play *p)
{
    return &p->latency;
}

uint64_t play_bytes(const struct play *p)
{
    return p->bytes;
}
