/* The coordinator's side of a run over several machines: it starts sluice-link on each by mpirun, one job an epoch, gives each
 * other machine its share of the plan, passes on the orders of sweeps, and watches.
 *
 * Shares are planned here for each machine with what it says of itself, and are sent as bytes: what two machines worked out for
 * themselves might differ. A machine is believed only after it has said the same version, found every file of its share with the
 * planned size and header, and attached its stages. One that is silent for REMOTE_SILENT_NS has failed, and the epoch with it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/engine/engine.h"
#include "coordinator/plan/plan.h"

#define REMOTE_SILENT_NS UINT64_C(4000000000)

struct remote;

/* One rank: all but the first are other machines. */
struct remote_host {
    const char *name, *folder; /* folder: where the model lies there; NULL: as here */
    uint64_t memory;           /* that a run may use there; 0: what is free, or as --host-memory says */
    uint32_t beside;           /* ranks that share the machine: its memory is divided by so many */
    bool here;                 /* it is this machine */
};

struct remote_config {
    const struct plan_shm *whole;   /* the program of the whole model */
    const uint32_t *owner;          /* [layers] rank */
    const struct remote_host *host; /* [ranks] */
    uint32_t ranks;
    const struct plan_shm *first; /* the plan of rank 0, which says how many positions, rows and logits all have */
    const struct plan_settings *settings; /* that it was planned with */
    bool reading_given, threads_given;    /* by the user: others take them over */
    const char *model;                    /* the folder or file here */
};

/* 0; -ENOENT, -EPERM: there is no MPI here, and what to do. */
int remote_possible(struct error *e);
/* Copies what it is given but whole and first, which must outlive it. -ENOENT: no MPI here. */
int remote_open(struct remote **out, const struct remote_config *c, struct error *e);
void remote_close(struct remote *p); /* after the engine */
const struct engine_peers *remote_engine(const struct remote *p);
/* The folder that a model lies in, absolute. */
int remote_folder(char *to, size_t room, const char *model, struct error *e);
/* Bytes that the other machines have read, in all epochs. */
uint64_t remote_read_bytes(const struct remote *p);
