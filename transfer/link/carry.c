#include "transfer/link/carry.h"

#include <errno.h>
#include <limits.h>
#include <mpi.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/shm.h"
#include "proto/link.h"

#define NAP_LEAST_NS UINT64_C(20000)
#define NAP_MOST_NS  UINT64_C(1000000)
#define NAP_PART     64u
#define LOOKS        8u /* Open MPI looks at its sockets in one call of so many */
#define MEET_NS      UINT64_C(10000000000)
#define FLUSH_NS     UINT64_C(2000000000) /* for what is still on its way at the end */

enum { TAG_MEET = 1, TAG_HOP, TAG_FRAME };

/* A frame on its way to another rank. */
struct sending {
    struct sending *next;
    MPI_Request request;
    struct frame frame;
    uint8_t data[];
};

struct carrier {
    int rank, ranks;
    struct frames *beside;
    struct shm run_shm, link_shm;
    struct epoch_shm *run;
    struct link_shm *link; /* NULL: not yet there */
    MPI_Request in, out;
    bool receives, sends;
    struct sending *sending;
    uint8_t *got; /* the frame that came last */
    size_t got_bytes;
    bool stop, told; /* the coordinator ends the epoch; that the node is gone */
};

/* ---- messages of hops ---- */

static int carry_in(struct carrier *c, bool *moved, struct error *e)
{
    struct link_ring *r = &c->link->in;
    uint64_t published = atomic_load_explicit(&r->published, memory_order_relaxed);
    struct link_message *m = link_slot(c->link, r, published);
    MPI_Status status;
    int there = 0, bytes = 0;

    if (!c->receives) {
        if (published - atomic_load_explicit(&r->taken, memory_order_acquire) >= LINK_SLOTS) return 0;
        MPI_Irecv(m, (int)c->link->slot_bytes, MPI_BYTE, MPI_ANY_SOURCE, TAG_HOP, MPI_COMM_WORLD, &c->in);
        c->receives = true;
    }
    MPI_Test(&c->in, &there, &status);
    if (!there) return 0;
    c->receives = false;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    if (bytes < (int)sizeof *m || m->bytes != (uint64_t)bytes - sizeof *m)
        return error_set(e, EPROTO, "a message of %d bytes from rank %d is none of hops", bytes, status.MPI_SOURCE);
    atomic_store_explicit(&r->published, published + 1, memory_order_release);
    eventcount_notify(&c->run->eventcount[STAGE_COMPUTE]);
    *moved = true;
    return 0;
}

static int carry_out(struct carrier *c, bool *moved, struct error *e)
{
    struct link_ring *r = &c->link->out;
    uint64_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
    const struct link_message *m = link_slot(c->link, r, taken);
    int there = 0;

    if (!c->sends) {
        if (atomic_load_explicit(&r->published, memory_order_acquire) == taken) return 0;
        if (m->to >= (uint32_t)c->ranks || m->to == (uint32_t)c->rank || m->bytes > c->link->slot_bytes - sizeof *m)
            return error_set(e, EPROTO, "compute hands over a message of %llu bytes to rank %u",
                             (unsigned long long)m->bytes, m->to);
        MPI_Isend(m, (int)(sizeof *m + m->bytes), MPI_BYTE, (int)m->to, TAG_HOP, MPI_COMM_WORLD, &c->out);
        c->sends = *moved = true;
    }
    MPI_Test(&c->out, &there, MPI_STATUS_IGNORE);
    if (!there) return 0;
    c->sends = false;
    atomic_store_explicit(&r->taken, taken + 1, memory_order_release);
    eventcount_notify(&c->run->eventcount[STAGE_COMPUTE]);
    *moved = true;
    return 0;
}

/* ---- frames ---- */

static int attach(struct carrier *c, struct error *e)
{
    int *fd = c->beside->passed, rc;

    if (c->link || fd[0] < 0 || fd[1] < 0) return error_set(e, EPROTO, "segments came without descriptors, or twice");
    rc = shm_attach(&c->run_shm, fd[0], 0, true, e);
    fd[0] = -1;
    if (rc) return rc;
    rc = shm_attach(&c->link_shm, fd[1], 0, true, e);
    fd[1] = -1;
    if (rc) return rc;
    c->run = c->run_shm.base;
    if ((rc = epoch_check(c->run, c->run_shm.bytes, e))) return rc;
    if ((rc = link_check(c->link_shm.base, c->link_shm.bytes, 0, e))) return rc;
    c->link = c->link_shm.base;
    if (c->link->slot_bytes > INT_MAX)
        return error_set(e, EINVAL, "a hop of %llu bytes is more than MPI sends at once: a smaller --chunk would do",
                         (unsigned long long)c->link->slot_bytes);
    return 0;
}

static int send_frame(struct carrier *c, int to, uint32_t type, const void *data, uint64_t bytes, struct error *e)
{
    struct sending *s = malloc(sizeof *s + bytes);

    if (!s) return error_set(e, ENOMEM, "out of memory");
    *s = (struct sending){.next = c->sending,
                          .frame = {.magic = FRAME_MAGIC, .type = type, .rank = (uint32_t)c->rank, .bytes = bytes}};
    if (bytes) memcpy(s->data, data, bytes);
    c->sending = s;
    MPI_Isend(&s->frame, (int)(sizeof s->frame + bytes), MPI_BYTE, to, TAG_FRAME, MPI_COMM_WORLD, &s->request);
    return 0;
}

static bool finish_sendings(struct carrier *c)
{
    bool any = false;

    for (struct sending **at = &c->sending, *s; (s = *at);) {
        int there = 0;

        MPI_Test(&s->request, &there, MPI_STATUS_IGNORE);
        if (there) {
            *at = s->next;
            free(s);
            any = true;
        } else {
            at = &s->next;
        }
    }
    return any;
}

/* Pulses may be lost: a coordinator that reads none wants none. */
static int deliver(struct carrier *c, const struct frame *h, struct error *e)
{
    if (h->type == FRAME_STOP) c->stop = true;
    if (h->type == FRAME_PULSE && c->beside->waiting) return 0;
    if (frames_send(c->beside, h->type, h->rank, frame_data(h), h->bytes, NULL))
        return error_set(e, ENOMEM, "out of memory");
    return 0;
}

static int frames_from_ranks(struct carrier *c, bool *moved, struct error *e)
{
    MPI_Status status;
    const struct frame *h;
    int there = 0, bytes = 0;

    for (uint32_t i = 0; i < LOOKS && !there; i++)
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_FRAME, MPI_COMM_WORLD, &there, &status);
    if (!there) return 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    if ((size_t)bytes > c->got_bytes) {
        free(c->got);
        c->got_bytes = 0;
        if (!(c->got = malloc((size_t)bytes))) return error_set(e, ENOMEM, "out of memory");
        c->got_bytes = (size_t)bytes;
    }
    MPI_Recv(c->got, bytes, MPI_BYTE, status.MPI_SOURCE, TAG_FRAME, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    h = (const struct frame *)(const void *)c->got;
    *moved = true;
    if ((size_t)bytes < sizeof *h || h->magic != FRAME_MAGIC || h->bytes != (size_t)bytes - sizeof *h ||
        h->rank != (uint32_t)status.MPI_SOURCE)
        return error_set(e, EPROTO, "a frame of %d bytes from rank %d is none", bytes, status.MPI_SOURCE);
    return deliver(c, h, e);
}

/* One that the process beside has for this link, or for another rank. */
static int dispatch(struct carrier *c, const struct frame *h, struct error *e)
{
    if (h->type == FRAME_SEGMENTS) return attach(c, e);
    if (h->rank >= (uint32_t)c->ranks) return error_set(e, EPROTO, "a frame for rank %u, which is not there", h->rank);
    if (h->rank != (uint32_t)c->rank) return send_frame(c, (int)h->rank, h->type, frame_data(h), h->bytes, e);
    if (h->type == FRAME_STOP) c->stop = true;
    return 0;
}

static int frames_from_beside(struct carrier *c, bool *moved, struct error *e)
{
    const struct frame *h;
    int rc = 0;

    while (!rc && (h = frames_next(c->beside, &rc))) {
        *moved = true;
        rc = dispatch(c, h, e);
    }
    if (rc && !e->text[0]) error_set(e, -rc, "the process beside sends what is no frame");
    if (rc || !c->beside->closed || c->stop || c->told) return rc;
    if (!c->rank) return error_set(e, EPIPE, "the coordinator is gone");
    c->told = true;
    return send_frame(c, 0, FRAME_LOST, NULL, 0, e);
}

/* ---- the loop ---- */

static int look(struct carrier *c, bool *moved, struct error *e)
{
    int rc = 0;

    if (c->link && ((rc = carry_in(c, moved, e)) || (rc = carry_out(c, moved, e)))) return rc;
    if ((rc = frames_from_beside(c, moved, e)) || (rc = frames_from_ranks(c, moved, e))) return rc;
    if (finish_sendings(c)) *moved = true;
    return 0;
}

static void nap(struct carrier *c, uint32_t seen, uint64_t quiet_ns)
{
    uint64_t ns = quiet_ns / NAP_PART;

    ns = ns < NAP_LEAST_NS ? NAP_LEAST_NS : ns > NAP_MOST_NS ? NAP_MOST_NS : ns;
    if (c->link)
        eventcount_wait(&c->link->wakes, seen, ns);
    else
        nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}

/* Rank 0 ends when it is told, others once their node has ended too. */
static bool is_over(const struct carrier *c)
{
    return c->stop && (!c->rank || c->beside->closed);
}

static void close_carrier(struct carrier *c)
{
    uint64_t end = clock_ns() + FLUSH_NS;

    while (c->sending && clock_ns() < end)
        if (!finish_sendings(c)) nanosleep(&(struct timespec){.tv_nsec = (long)NAP_LEAST_NS}, NULL);
    if (c->receives) {
        MPI_Cancel(&c->in);
        MPI_Wait(&c->in, MPI_STATUS_IGNORE);
    }
    if (c->sends) MPI_Request_free(&c->out);
    free(c->got);
    shm_close(&c->run_shm);
    shm_close(&c->link_shm);
}

int carry(struct frames *beside, struct error *e)
{
    struct carrier c = {.beside = beside, .run_shm = SHM_NONE, .link_shm = SHM_NONE};
    uint64_t last = clock_ns();
    int rc = 0;

    MPI_Comm_rank(MPI_COMM_WORLD, &c.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c.ranks);
    while (!rc && !is_over(&c)) {
        uint32_t seen = c.link ? eventcount_read(&c.link->wakes) : 0;
        bool moved = false;

        rc = look(&c, &moved, e);
        if (moved)
            last = clock_ns();
        else if (!rc && !is_over(&c))
            nap(&c, seen, clock_ns() - last);
    }
    if (!rc) close_carrier(&c);
    return rc;
}

/* ---- meeting ---- */

struct meeting {
    MPI_Request to, from;
    int heard;
};

static int tell_missing(const struct meeting *m, int rank, int ranks, struct error *e)
{
    for (int k = 0; k < ranks; k++)
        if (k != rank && !m[k].heard)
            return error_set(e, ETIMEDOUT,
                             "rank %d hears nothing of rank %d for %d s: MPI takes a network that does not join them; "
                             "name the right one (Open MPI: OMPI_MCA_btl_tcp_if_include, MPICH: HYDRA_IFACE)",
                             rank, k, (int)(MEET_NS / 1000000000u));
    return 0;
}

int carry_meet(struct error *e)
{
    static char word; /* of no meaning */
    uint64_t end = clock_ns() + MEET_NS;
    struct meeting *m;
    int rank, ranks, missing, rc;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    m = calloc((size_t)ranks, sizeof *m);
    if (!m) return error_set(e, ENOMEM, "out of memory");
    for (int k = 0; k < ranks; k++) {
        if (k == rank) continue;
        MPI_Irecv(&word, 0, MPI_BYTE, k, TAG_MEET, MPI_COMM_WORLD, &m[k].from);
        MPI_Isend(&word, 0, MPI_BYTE, k, TAG_MEET, MPI_COMM_WORLD, &m[k].to);
    }
    do {
        missing = 0;
        for (int k = 0; k < ranks; k++) {
            int sent = 0;

            if (k == rank) continue;
            if (m[k].to != MPI_REQUEST_NULL) MPI_Test(&m[k].to, &sent, MPI_STATUS_IGNORE);
            if (!m[k].heard) MPI_Test(&m[k].from, &m[k].heard, MPI_STATUS_IGNORE);
            missing += !m[k].heard || m[k].to != MPI_REQUEST_NULL;
        }
        if (missing) nanosleep(&(struct timespec){.tv_nsec = (long)NAP_MOST_NS}, NULL);
    } while (missing && clock_ns() < end);
    rc = missing ? tell_missing(m, rank, ranks, e) : 0;
    free(m);
    return rc;
}
