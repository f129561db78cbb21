#include "compute/hops.h"

#include <errno.h>
#include <stdatomic.h>

#include "proto/base/checksum.h"

/* Until a slot is there: one that is free to be filled (sends), or one that has come. */
static int wait_slot(struct decoder *d, struct link_ring *r, bool sends, struct link_message **out)
{
    struct epoch_shm *run = d->stage->run;
    int rc;

    for (;;) {
        uint32_t seen = eventcount_read(&run->eventcount[STAGE_COMPUTE]);
        uint64_t published = atomic_load_explicit(&r->published, memory_order_acquire),
                 taken = atomic_load_explicit(&r->taken, memory_order_acquire);

        if (sends ? published - taken < LINK_SLOTS : published != taken) {
            *out = link_slot(d->stage->link, r, sends ? published : taken);
            return 0;
        }
        if ((rc = epoch_wait(run, STAGE_COMPUTE, seen))) return rc;
    }
}

static uint64_t sum_of(const struct link_message *m)
{
    struct checksum c;

    checksum_begin(&c);
    checksum_feed(&c, m + 1, m->bytes);
    return checksum_end(&c);
}

/* Where this operation's numbers lie: behind those of the columns before it. */
static float *numbers(struct decoder *d, struct link_message *m, const struct op_hop *o)
{
    return (float *)(void *)(m + 1) + (uint64_t)o->at * d->rows;
}

static void step(struct decoder *d, _Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_release);
    eventcount_notify(&d->stage->link->wakes);
}

int hops_send(struct decoder *d, const struct plan_op *op, struct error *e)
{
    const struct op_hop *o = &op->hop;
    struct link_shm *l = d->stage->link;
    struct link_message *m;
    int rc = wait_slot(d, &l->out, true, &m);

    if (rc) return rc;
    for (uint32_t i = 0; i < d->rows; i++)
        ops_download(d->ops, numbers(d, m, o) + (uint64_t)i * o->width,
                     decoder_at(d, o->x) + (uint64_t)i * decoder_ld(d, o->x), o->width * sizeof(float));
    if (o->at + o->width != o->total) return 0;
    if ((rc = ops_sync(d->ops, e))) return rc;
    *m = (struct link_message){.epoch = l->epoch,
                               .sweep = d->sweep,
                               .bytes = (uint64_t)o->total * d->rows * sizeof(float),
                               .hop = o->hop,
                               .layer = op->layer,
                               .positions = d->rows,
                               .from = l->rank,
                               .to = o->peer};
    m->checksum = sum_of(m);
    step(d, &l->out.published);
    return 0;
}

/* A message is believed only where it is the one that comes next. */
static int check_message(const struct decoder *d, const struct link_message *m, const struct op_hop *o, struct error *e)
{
    const struct link_shm *l = d->stage->link;

    if (m->epoch != l->epoch || m->sweep != d->sweep || m->hop != o->hop || m->group || m->from != o->peer ||
        m->to != l->rank || m->positions != d->rows || m->bytes != (uint64_t)o->total * d->rows * sizeof(float))
        return error_set(e, EPROTO,
                         "link: expected hop %u of sweep %llu with %u positions from rank %u, got hop %u of sweep %llu "
                         "(epoch %llu) with %u from rank %u",
                         o->hop, (unsigned long long)d->sweep, d->rows, o->peer, m->hop, (unsigned long long)m->sweep,
                         (unsigned long long)m->epoch, m->positions, m->from);
    if (m->checksum != sum_of(m))
        return error_set(e, CONTROL_DEVICE_LOST,
                         "link: hop %u of sweep %llu from rank %u has not the bytes that were sent", o->hop,
                         (unsigned long long)d->sweep, o->peer);
    return 0;
}

int hops_receive(struct decoder *d, const struct plan_op *op, struct error *e)
{
    const struct op_hop *o = &op->hop;
    struct link_shm *l = d->stage->link;
    struct link_message *m;
    int rc = wait_slot(d, &l->in, false, &m);

    if (rc || (!o->at && (rc = check_message(d, m, o, e)))) return rc;
    for (uint32_t i = 0; i < d->rows; i++)
        ops_upload(d->ops, decoder_at(d, o->x) + (uint64_t)i * decoder_ld(d, o->x),
                   numbers(d, m, o) + (uint64_t)i * o->width, o->width * sizeof(float));
    if (o->at + o->width != o->total) return 0;
    if ((rc = ops_sync(d->ops, e))) return rc;
    step(d, &l->in.taken);
    return 0;
}
