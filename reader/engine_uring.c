/* io_uring. The ring is made disabled and enabled by the thread that first uses it, so that it can be opened by another
 * one and still be single-issuer, which spares the kernel its locks. Files and the arena are registered where the limits
 * allow it: a registered buffer is pinned once, not at each read. */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "reader/engine.h"

#define BUFFER_MAX (UINT64_C(1) << 30) /* the kernel's limit for one registered buffer */
#define BUFFERS    (1u << 14)          /* and for their number */
#define CLOSE_NS   1000000000u

struct uring {
    struct io_engine engine;
    struct io_uring ring;
    bool enabled, files_registered;
    bool file_refused; /* one that was added could not be registered */
    uint32_t files, under_way;
    uint64_t arena, arena_bytes, piece_bytes; /* piece_bytes 0: no registered buffers */
    bool *file_added;
    char text[64];
};

/* A filter of system calls may allow a ring to be made and refuse what it is made for. One that is not enabled yet says so
 * when it is entered, where entering it is allowed. */
static int try_ring(int fd)
{
    struct io_uring_probe probe = {0};

    if (syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0) < 0 && errno != EBADFD) return -errno;
    return syscall(SYS_io_uring_register, fd, IORING_REGISTER_PROBE, &probe, 0) < 0 ? -errno : 0;
}

static int make_ring(struct uring *u, uint32_t depth)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED, /* Linux 6.1 */
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_R_DISABLED,                               /* Linux 5.19 */
        IORING_SETUP_R_DISABLED,
    };
    struct io_uring_params p;
    int rc = -EINVAL;

    for (size_t i = 0; i < sizeof flags / sizeof *flags && rc == -EINVAL; i++) {
        p = (struct io_uring_params){.flags = flags[i]};
        rc = io_uring_queue_init_params(depth, &u->ring, &p);
    }
    if (rc) return rc;
    rc = p.features & IORING_FEAT_EXT_ARG ? try_ring(u->ring.ring_fd)
                                          : -ENOSYS; /* waiting with a time limit; Linux 5.11 */
    if (rc) io_uring_queue_exit(&u->ring);
    return rc;
}

/* As many slots to a buffer as the kernel's limit allows. Does nothing where that is not possible. */
static void register_arena(struct uring *u, const struct io_options *o)
{
    uint64_t piece, count;
    struct iovec *v;

    if (!o->arena || !o->slot_bytes || o->slot_bytes > BUFFER_MAX) return;
    piece = BUFFER_MAX / o->slot_bytes * o->slot_bytes;
    count = (o->arena_bytes + piece - 1) / piece;
    if (!count || count > BUFFERS || !(v = calloc(count, sizeof *v))) return;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t left = o->arena_bytes - i * piece;

        v[i] = (struct iovec){.iov_base = (char *)o->arena + i * piece, .iov_len = left < piece ? left : piece};
    }
    if (!io_uring_register_buffers(&u->ring, v, (unsigned)count)) {
        u->arena = (uint64_t)(uintptr_t)o->arena;
        u->arena_bytes = o->arena_bytes;
        u->piece_bytes = piece;
    }
    free(v);
}

static int uring_open(struct io_engine **out, const struct io_options *o, struct error *e)
{
    struct uring *u = calloc(1, sizeof *u);
    int rc;

    if (!u || !(u->file_added = calloc(o->files + 1, sizeof *u->file_added))) {
        free(u);
        return error_set(e, ENOMEM, "no memory for reads");
    }
    u->engine.ops = &io_engine_uring;
    u->files = o->files;
    rc = make_ring(u, o->depth);
    if (rc) {
        free(u->file_added);
        free(u);
        return error_set(e, ENOTSUP, "io_uring is not allowed or too old here (%s)%s", error_name(-rc),
                         rc == -ENOMEM ? "; it needs more locked memory than the limit allows (ulimit -l)" : "");
    }
    u->files_registered = o->files && !io_uring_register_files_sparse(&u->ring, o->files);
    register_arena(u, o);
    snprintf(u->text, sizeof u->text, "io_uring%s%s", u->files_registered ? "" : ", files not registered",
             u->piece_bytes ? "" : ", memory not registered");
    *out = &u->engine;
    return 0;
}

static void uring_add_file(struct io_engine *g, uint32_t file, int fd)
{
    struct uring *u = (struct uring *)g;

    if (u->files_registered && file < u->files)
        u->file_added[file] = io_uring_register_files_update(&u->ring, file, &fd, 1) == 1;
    if (file >= u->files || !u->file_added[file]) u->file_refused = true;
}

static void uring_submit(struct io_engine *g, const struct io_read *r)
{
    struct uring *u = (struct uring *)g;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring); /* there is one: at most depth are under way */
    bool registered = r->file < u->files && u->file_added[r->file];
    uint64_t at = (uint64_t)(uintptr_t)r->dest - u->arena;
    int fd = registered ? (int)r->file : r->fd;

    if (u->piece_bytes && at < u->arena_bytes)
        io_uring_prep_read_fixed(sqe, fd, r->dest, r->bytes, r->offset, (int)(at / u->piece_bytes));
    else
        io_uring_prep_read(sqe, fd, r->dest, r->bytes, r->offset);
    if (registered) sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = r->tag;
    u->under_way++;
}

static int enable(struct uring *u)
{
    /* io_uring_enable_rings() by hand: liburing 2.3 declares it and does not export it. */
    if (syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0) return -errno;
    u->enabled = true;
    io_uring_register_ring_fd(&u->ring); /* spares a look-up at each call; no matter where it fails */
    return 0;
}

/* The ring can do what system calls are filtered for, opening files and sockets among it: so it is bound to reads before it
 * is enabled. */
static int uring_seal(struct io_engine *g)
{
    struct uring *u = (struct uring *)g;
    bool fixed = u->files_registered && !u->file_refused;
    struct io_uring_restriction r[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ_FIXED},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_RING_FDS},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_UNREGISTER_RING_FDS},
        {.opcode = fixed ? IORING_RESTRICTION_SQE_FLAGS_REQUIRED : IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
         .sqe_flags = IOSQE_FIXED_FILE},
    };

    if (u->enabled) return -EBUSY;
    /* By hand, as below. */
    return syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_RESTRICTIONS, r, sizeof r / sizeof *r) < 0
               ? -errno
               : 0;
}

static int collect(struct uring *u, struct io_done *done, uint32_t max)
{
    struct io_uring_cqe *cqe;
    uint32_t n = 0;
    unsigned head;

    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        if (n == max) break;
        done[n++] = (struct io_done){.tag = (uint32_t)cqe->user_data, .result = cqe->res};
    }
    io_uring_cq_advance(&u->ring, n);
    u->under_way -= n;
    return (int)n;
}

/* The kernel is short of something, for now: the queue stays as it is, the next call tries again. */
static bool transient(int rc)
{
    return rc == -ETIME || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY;
}

static int uring_reap(struct io_engine *g, struct io_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns)
{
    struct uring *u = (struct uring *)g;
    struct __kernel_timespec t = {.tv_sec = (long long)(timeout_ns / 1000000000u),
                                  .tv_nsec = (long long)(timeout_ns % 1000000000u)};
    struct io_uring_cqe *cqe;
    int rc;

    if (!u->enabled && (rc = enable(u))) return rc;
    if (min && io_uring_cq_ready(&u->ring) < min)
        rc = io_uring_submit_and_wait_timeout(&u->ring, &cqe, min, &t, NULL);
    else
        rc = io_uring_submit_and_get_events(&u->ring);
    if ((rc == -EAGAIN || rc == -EBUSY) && !io_uring_cq_ready(&u->ring))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (rc < 0 && !transient(rc)) return rc;
    return collect(u, done, max);
}

static const char *uring_describe(const struct io_engine *g)
{
    return ((const struct uring *)g)->text;
}

/* What is still queued is submitted too, and then waited for: nothing may land in memory that is about to go. A ring with a
 * single issuer waits for no other thread than that one. */
static void uring_finish(struct io_engine *g, uint64_t limit_ns)
{
    struct uring *u = (struct uring *)g;
    uint64_t now = clock_ns(), end = now + limit_ns;
    struct io_done done[64];

    for (; u->under_way && now < end; now = clock_ns()) {
        if (uring_reap(g, done, 64, 1, end - now) < 0) return;
    }
}

static void uring_close(struct io_engine *g)
{
    struct uring *u = (struct uring *)g;

    uring_finish(g, CLOSE_NS);
    io_uring_queue_exit(&u->ring);
    free(u->file_added);
    free(u);
}

const struct io_ops io_engine_uring = {
    .name = "uring",
    .open = uring_open,
    .add_file = uring_add_file,
    .submit = uring_submit,
    .reap = uring_reap,
    .describe = uring_describe,
    .seal = uring_seal,
    .finish = uring_finish,
    .close = uring_close,
};
