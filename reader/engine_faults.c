#include "reader/engine_faults.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct faulty {
    struct io_engine engine;
    struct io_engine *below;
    struct faults what;
    uint64_t random; /* always the same sequence */
    uint32_t failed; /* of done[], which were never handed on */
    struct io_done *done;
    char text[96];
    struct io_read read[]; /* by tag: those under way */
};

static const struct io_ops faulty_ops;

int io_engine_faults_open(struct io_engine **out, struct io_engine *below, const struct faults *what, uint32_t depth,
                          struct error *e)
{
    struct faulty *f = calloc(1, sizeof *f + depth * sizeof *f->read);

    if (f) f->done = calloc(depth, sizeof *f->done);
    if (!f || !f->done) {
        free(f);
        io_engine_close(below);
        return error_set(e, ENOMEM, "no memory for faults");
    }
    f->engine.ops = &faulty_ops;
    f->below = below;
    f->what = *what;
    snprintf(f->text, sizeof f->text, "%.60s, with faults", io_engine_describe(below));
    *out = &f->engine;
    return 0;
}

static double chance(struct faulty *f)
{
    f->random = f->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(f->random >> 11) / (double)(UINT64_C(1) << 53);
}

static void faulty_add_file(struct io_engine *g, uint32_t file, int fd)
{
    io_engine_add_file(((struct faulty *)g)->below, file, fd);
}

static void faulty_submit(struct io_engine *g, const struct io_read *r)
{
    struct faulty *f = (struct faulty *)g;
    struct io_read *q = &f->read[r->tag];
    uint64_t end = r->offset + r->bytes;
    double most = faults_value(&f->what, FAULT_SHORT, 0);
    int code = 0;

    *q = *r;
    if (faults_meet(&f->what, FAULT_HANG, r->offset, end)) return;
    if (chance(f) < faults_value(&f->what, FAULT_EAGAIN, 0)) code = EAGAIN;
    if (!code && faults_meet(&f->what, FAULT_EIO, r->offset, end)) code = EIO;
    if (code) {
        f->done[f->failed++] = (struct io_done){.tag = r->tag, .result = -code};
        return;
    }
    if (most >= 1 && q->bytes > most) q->bytes = (uint32_t)most;
    io_engine_submit(f->below, q);
}

static void flip(struct faulty *f, const struct io_done *d)
{
    const struct io_read *r = &f->read[d->tag];
    const struct fault *x;

    if (d->result <= 0) return;
    x = faults_meet(&f->what, FAULT_FLIP, r->offset, r->offset + (uint32_t)d->result);
    if (x) ((uint8_t *)r->dest)[x->at - r->offset] ^= 1;
}

static int faulty_reap(struct io_engine *g, struct io_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns)
{
    struct faulty *f = (struct faulty *)g;
    uint32_t n = 0;
    int more;

    while (n < max && f->failed) done[n++] = f->done[--f->failed];
    if (n == max) return (int)n;
    more = io_engine_reap(f->below, done + n, max - n, n < min ? min - n : 0, timeout_ns);
    if (more < 0) return n ? (int)n : more;
    for (int i = 0; i < more; i++) flip(f, &done[n + (uint32_t)i]);
    return (int)n + more;
}

static const char *faulty_describe(const struct io_engine *g)
{
    return ((const struct faulty *)g)->text;
}

static void faulty_finish(struct io_engine *g, uint64_t limit_ns)
{
    io_engine_finish(((struct faulty *)g)->below, limit_ns);
}

static void faulty_close(struct io_engine *g)
{
    struct faulty *f = (struct faulty *)g;

    io_engine_close(f->below);
    free(f->done);
    free(f);
}

static const struct io_ops faulty_ops = {.name = "faults",
                                         .add_file = faulty_add_file,
                                         .submit = faulty_submit,
                                         .reap = faulty_reap,
                                         .describe = faulty_describe,
                                         .finish = faulty_finish,
                                         .close = faulty_close};
