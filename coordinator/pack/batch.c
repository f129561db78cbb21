#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include "coordinator/pack/private.h"

#define BATCH_BYTES  (UINT64_C(32) << 20)
#define BATCH_LEAST  (UINT64_C(1) << 20)
#define PIECE_BYTES  (UINT64_C(1) << 20) /* of bytes as they are */
#define THREADS_MOST 256u

bool stopped(const struct pack_options *o)
{
    return o->interrupted && o->interrupted();
}

int write_at(int fd, const void *data, uint64_t bytes, uint64_t offset)
{
    const uint8_t *p = data;

    while (bytes) {
        ssize_t n = pwrite(fd, p, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n ? -errno : -EIO;
        p += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

void start_writing(int fd, uint64_t from, uint64_t to)
{
    /* a file system that cannot writes when it likes */
    if (from < to) (void)sync_file_range(fd, (off_t)from, (off_t)(to - from), SYNC_FILE_RANGE_WRITE);
}

void batch_sum(struct sha256 *sum, const struct batch *b)
{
    for (uint32_t i = 0; i < b->count; i++) sha256_feed(sum, b->piece[i].raw, b->piece[i].raw_bytes);
}

static void batch_close(struct batch *b)
{
    free(b->piece);
    free(b->raw);
    free(b->stored);
    *b = (struct batch){0};
}

static int batch_open(struct batch *b, const struct pack_options *o, struct error *e)
{
    uint64_t room = o->memory / 6; /* there are two of them */

    if (room > BATCH_BYTES) room = BATCH_BYTES;
    if (room < BATCH_LEAST) room = BATCH_LEAST;
    *b = (struct batch){.room = room, .stored_room = room, .raw = malloc(room), .stored = malloc(room)};
    if (b->raw && b->stored) return 0;
    batch_close(b);
    return error_set(e, ENOMEM, "no memory for buffers of %llu bytes", 2 * (unsigned long long)room);
}

/* The piece that is next; false: there is none. */
static bool next_piece(const struct pieces *p, struct piece *x)
{
    const struct packed_segment *s = &p->segment[p->at];
    uint64_t left;

    if (p->at == p->segments) return false;
    *x = (struct piece){.segment = s, .raw_off = s->raw_off + p->offset};
    if (s->unit_rows) {
        x->rows = s->rows - p->row < s->unit_rows ? (uint32_t)(s->rows - p->row) : s->unit_rows;
        x->cols = s->cols;
        x->unit = s->unit0 + p->row / s->unit_rows;
        x->raw_bytes = 2 * (uint64_t)x->rows * x->cols;
        return true;
    }
    left = s->raw_bytes - p->offset;
    x->raw_bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
    x->stored_bytes = x->raw_bytes;
    return true;
}

static void pass_piece(struct pieces *p, const struct piece *x)
{
    p->row += x->rows;
    p->offset += x->raw_bytes;
    if (p->offset < p->segment[p->at].raw_bytes) return;
    p->at++;
    p->row = p->offset = 0;
}

/* Whole groups of the last chunk may be written. */
static uint64_t raw_room(const struct piece *x)
{
    return (x->raw_bytes + 2 * UNIT_GROUP - 1) / (2 * UNIT_GROUP) * (2 * UNIT_GROUP);
}

static uint64_t stored_room(const struct piece *x)
{
    return x->cols ? unit_stored_most(x->rows, x->cols) : x->raw_bytes;
}

static int grow(uint8_t **memory, uint64_t *room, uint64_t need, struct error *e)
{
    uint8_t *larger = need > *room ? realloc(*memory, need) : *memory;

    if (!larger) return error_set(e, ENOMEM, "no memory for a piece of %llu bytes", (unsigned long long)need);
    *memory = larger;
    if (need > *room) *room = need;
    return 0;
}

static int add_piece(struct batch *b, const struct piece *x, struct error *e)
{
    if (b->count == b->capacity) {
        uint32_t capacity = b->capacity ? 2 * b->capacity : 256;
        struct piece *piece = reallocarray(b->piece, capacity, sizeof *piece);

        if (!piece) return error_set(e, ENOMEM, "no memory for the list of pieces");
        b->piece = piece;
        b->capacity = capacity;
    }
    b->piece[b->count++] = *x;
    return 0;
}

/* The next pieces, and memory for them. count 0: there are none. */
static int batch_fill(struct batch *b, struct pieces *p, struct error *e)
{
    uint64_t raw = 0, stored = 0;
    struct piece x;
    int rc = 0;

    b->count = 0;
    b->raw_bytes = 0;
    while (!rc && next_piece(p, &x)) {
        if (b->count && (raw + raw_room(&x) > b->room || stored + stored_room(&x) > b->stored_room)) break;
        rc = add_piece(b, &x, e);
        raw += raw_room(&x);
        stored += stored_room(&x);
        b->raw_bytes += x.raw_bytes;
        pass_piece(p, &x);
    }
    if (!rc) rc = grow(&b->raw, &b->room, raw, e);
    if (!rc) rc = grow(&b->stored, &b->stored_room, stored, e);
    raw = stored = 0;
    for (uint32_t i = 0; i < b->count && !rc; i++) {
        b->piece[i].raw = b->raw + raw;
        b->piece[i].stored = b->stored + stored;
        raw += raw_room(&b->piece[i]);
        stored += stored_room(&b->piece[i]);
    }
    return rc;
}

/* ---- all threads over the pieces ---- */

/* What is to do, numbered: what is ordered of the last batch, which takes longest; the ends of its pieces; the beginnings of
 * the present one's. */
struct crew {
    const struct batch_work *w;
    struct batch *last, *now;
    _Atomic uint32_t next;
    pthread_mutex_t lock;
    uint32_t failed_at;
    struct error failure;
};

static void note_failure(struct crew *c, uint32_t i, const struct error *why)
{
    pthread_mutex_lock(&c->lock);
    if (i < c->failed_at) {
        c->failed_at = i;
        c->failure = *why;
    }
    pthread_mutex_unlock(&c->lock);
}

/* false: there is no such number. */
static bool do_one(const struct crew *c, uint32_t i, struct error *why)
{
    if (i < BATCH_ORDERED) {
        if (c->last->count && c->w->ordered[i]) c->w->ordered[i](c->w->arg, c->last);
        return true;
    }
    i -= BATCH_ORDERED;
    if (i < c->last->count) {
        c->w->end(c->w->arg, &c->last->piece[i], why);
        return true;
    }
    i -= c->last->count;
    if (i >= c->now->count) return false;
    c->w->begin(c->w->arg, &c->now->piece[i], why);
    return true;
}

static void *work(void *arg)
{
    struct crew *c = arg;

    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&c->next, 1, memory_order_relaxed);
        struct error why = {0};

        if (!do_one(c, i, &why)) return NULL;
        if (why.code) note_failure(c, i, &why);
    }
}

static int run(const struct batch_work *w, struct batch *last, struct batch *now, uint32_t threads, struct error *e)
{
    struct crew c = {.w = w, .last = last, .now = now, .failed_at = UINT32_MAX};
    pthread_t thread[THREADS_MOST];
    uint32_t n = 0, want = threads < THREADS_MOST ? threads : THREADS_MOST;

    pthread_mutex_init(&c.lock, NULL);
    /* with fewer threads than were asked for it takes longer, and no harm is done */
    while (n + 1 < want && n < last->count + now->count && !pthread_create(&thread[n], NULL, work, &c)) n++;
    work(&c);
    while (n) pthread_join(thread[--n], NULL);
    pthread_mutex_destroy(&c.lock);
    if (c.failure.code && e) *e = c.failure;
    return -c.failure.code;
}

/* One batch begins while the one before it ends. */
static int step(struct pieces *p, const struct batch_work *w, struct batch *last, struct batch *now,
                const struct pack_options *o, struct error *e)
{
    bool stop = stopped(o);
    int rc = 0;

    now->count = 0;
    if (!stop) rc = batch_fill(now, p, e);
    if (!rc && now->count && w->look) w->look(w->arg, now);
    if (!rc) rc = run(w, last, now, o->threads, e);
    if (!rc && stop) rc = error_set(e, ECANCELED, "interrupted");
    if (!rc && now->count && w->place) rc = w->place(w->arg, now, e);
    return rc;
}

int batch_all(struct pieces *p, const struct batch_work *w, const struct pack_options *o, struct progress *progress,
              struct error *e)
{
    struct batch two[2] = {0};
    unsigned i = 0;
    int rc = batch_open(&two[0], o, e);

    if (!rc) rc = batch_open(&two[1], o, e);
    if (!rc) {
        do {
            struct batch *now = &two[i % 2], *last = &two[(i + 1) % 2];

            rc = step(p, w, last, now, o, e);
            if (rc || !last->count) continue;
            progress->done += last->raw_bytes;
            if (o->progress) o->progress(o->arg, progress->done, progress->total);
        } while (!rc && two[i++ % 2].count);
    }
    batch_close(&two[0]);
    batch_close(&two[1]);
    return rc;
}
