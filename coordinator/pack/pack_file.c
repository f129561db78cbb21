#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "coordinator/pack/private.h"
#include "proto/base/file.h"

struct packing {
    const struct cut_file *f;
    const struct pack_options *o;
    const struct unit_code *code;
    char *path, *partial;
    int in, out;
    struct stat before;
    uint32_t *lengths; /* [units] */
    uint8_t *header;
    uint64_t front_bytes;
    uint64_t at;      /* where the next piece will lie */
    uint64_t started; /* the disk has begun with what lies before this */
    bool resuming;    /* all so far lay there already */
    struct sha256 sum;
    struct pack_result *r;
};

static int read_failed(const struct packing *k, int rc, uint64_t offset, struct error *e)
{
    return error_set(e, -rc, "%s: offset %llu: %s%s", k->f->path, (unsigned long long)offset, error_name(-rc),
                     rc == -EIO ? " (it became shorter, or its disk fails)" : "");
}

static int write_failed(const struct packing *k, int rc, struct error *e)
{
    return error_set(e, -rc, "%s: %s%s", k->partial, error_name(-rc),
                     rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG
                         ? ": make room and run the same command again, it goes on where it ended"
                         : "");
}

/* ---- what a partial file has already ---- */

static uint64_t aligned(uint64_t x)
{
    return (x + PACKED_ALIGN - 1) / PACKED_ALIGN * PACKED_ALIGN;
}

/* Where the pieces would lie, if what is there is what was written of them. */
static void find_candidates(void *arg, struct batch *b)
{
    const struct packing *k = arg;
    uint64_t at = k->at;
    bool on = k->resuming;

    for (uint32_t i = 0; i < b->count; i++) {
        struct piece *x = &b->piece[i];
        struct unit_header h;

        x->stored_off = 0;
        if (!on) continue;
        if (x->raw_off == x->segment->raw_off) at = aligned(at);
        if (x->cols) {
            on = !file_read_at(k->out, &h, sizeof h, at) && h.magic == UNIT_MAGIC && h.rows == x->rows &&
                 h.cols == x->cols && h.stored >= UNIT_HEADER && h.stored <= unit_stored_most(x->rows, x->cols);
            x->stored_bytes = on ? h.stored : 0;
        }
        if (on) x->stored_off = at;
        at += x->stored_bytes;
    }
}

static bool lies_there(const struct packing *k, struct piece *x)
{
    uint8_t chunk[UNIT_CHUNK * 2];
    struct unit u;

    if (file_read_at(k->out, x->stored, x->stored_bytes, x->stored_off)) return false;
    if (!x->cols) return !memcmp(x->stored, x->raw, x->raw_bytes);
    if (unit_open(&u, x->stored, x->stored_bytes, NULL) || u.stored != x->stored_bytes || unit_check(&u, NULL))
        return false;
    for (uint32_t c = 0; c < u.chunks; c++) {
        uint64_t from = unit_chunk_bytes(c), n = x->raw_bytes - from;

        if (k->code->decode(&u, c, 1, chunk)) return false;
        if (memcmp(chunk, x->raw + from, n < sizeof chunk ? n : sizeof chunk)) return false;
    }
    return true;
}

/* ---- pieces ---- */

static int pack_piece(void *arg, struct piece *x, struct error *e)
{
    const struct packing *k = arg;
    int rc = file_read_at(k->in, x->raw, x->raw_bytes, x->raw_off);

    if (rc) return read_failed(k, rc, x->raw_off, e);
    x->kept = x->stored_off && lies_there(k, x);
    if (!x->kept && x->cols) x->stored_bytes = unit_encode(k->code, x->stored, x->raw, x->rows, x->cols);
    return 0;
}

static int write_piece(void *arg, struct piece *x, struct error *e)
{
    const struct packing *k = arg;
    int rc = x->kept ? 0 : write_at(k->out, x->cols ? x->stored : x->raw, x->stored_bytes, x->stored_off);

    return rc ? write_failed(k, rc, e) : 0;
}

/* Now that lengths are known, so are places. What a partial file has behind the first difference is of no use. */
static int place_pieces(void *arg, struct batch *b, struct error *e)
{
    struct packing *k = arg;

    for (uint32_t i = 0; i < b->count; i++) {
        struct piece *x = &b->piece[i];

        if (x->raw_off == x->segment->raw_off) k->at = aligned(k->at);
        if (k->resuming && !x->kept) {
            k->resuming = false;
            if (ftruncate(k->out, (off_t)k->at)) return write_failed(k, -errno, e);
        }
        if (x->kept && k->resuming)
            k->r->kept_bytes += x->raw_bytes;
        else
            x->kept = false;
        x->stored_off = k->at;
        if (x->raw_off == x->segment->raw_off) k->f->segment[x->segment - k->f->segment].stored_off = k->at;
        if (x->cols) {
            k->lengths[x->unit] = (uint32_t)x->stored_bytes;
            k->r->unit_bytes += x->stored_bytes;
        }
        k->at += x->stored_bytes;
    }
    return 0;
}

/* The batch after the next one. */
static void read_ahead(void *arg, const struct batch *b)
{
    const struct packing *k = arg;
    const struct piece *x = &b->piece[b->count - 1];

    posix_fadvise(k->in, (off_t)(x->raw_off + x->raw_bytes + b->raw_bytes), (off_t)b->raw_bytes, POSIX_FADV_WILLNEED);
}

static void sum_pieces(void *arg, const struct batch *b)
{
    struct packing *k = arg;

    batch_sum(&k->sum, b);
}

/* What was written before this batch: all of it is there. */
static void start_disk(void *arg, const struct batch *b)
{
    struct packing *k = arg;
    uint64_t to = b->piece[0].stored_off;

    start_writing(k->out, k->started, to);
    k->started = to;
}

static int pack_pieces(struct packing *k, struct progress *p, struct error *e)
{
    const struct batch_work w = {.arg = k,
                                 .look = find_candidates,
                                 .begin = pack_piece,
                                 .place = place_pieces,
                                 .end = write_piece,
                                 .ordered = {read_ahead, sum_pieces, start_disk}};
    struct pieces all = {.segment = k->f->segment, .segments = k->f->segments};
    int rc = sha256_begin(&k->sum, e);

    if (rc) return rc;
    sha256_feed(&k->sum, k->header, k->f->header_bytes);
    return batch_all(&all, &w, k->o, p, e);
}

/* ---- the whole file ---- */

static int unchanged(const struct packing *k, struct error *e)
{
    struct stat now;

    if (!fstat(k->in, &now) && now.st_size == k->before.st_size && now.st_mtim.tv_sec == k->before.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == k->before.st_mtim.tv_nsec && now.st_ctim.tv_sec == k->before.st_ctim.tv_sec &&
        now.st_ctim.tv_nsec == k->before.st_ctim.tv_nsec)
        return 0;
    return error_set(e, ESTALE,
                     "%s changed while it was packed: let the copy or download end and run the same command again",
                     k->f->path);
}

static int finish(struct packing *k, struct packed_file *x, struct error *e)
{
    struct packed_head head = {.magic = PACKED_MAGIC,
                               .version = PACKED_VERSION,
                               .front_bytes = k->front_bytes,
                               .stored_bytes = k->at,
                               .header_bytes = k->f->header_bytes,
                               .raw_bytes = k->f->bytes,
                               .segments = k->f->segments,
                               .units = k->f->units};
    uint8_t *front = malloc(k->front_bytes);
    int rc = front ? unchanged(k, e) : error_set(e, ENOMEM, "%s: no memory for its front", k->path);

    if (!rc) rc = sha256_end(&k->sum, head.raw_sha256, e);
    if (!rc) {
        packed_front(front, &head, k->header, k->f->segment, k->lengths);
        rc = write_at(k->out, front, k->front_bytes, 0);
        if (!rc && ftruncate(k->out, (off_t)k->at)) rc = -errno;
        if (rc) rc = write_failed(k, rc, e);
    }
    if (!rc) rc = settle_file(k->out, k->partial, k->path, e);
    free(front);
    x->raw_bytes = k->f->bytes;
    x->stored_bytes = k->at;
    x->front_sum = head.sum;
    packed_hex(x->sha256, head.raw_sha256, PACKED_SHA256);
    return rc;
}

static int open_both(struct packing *k, struct error *e)
{
    int rc = file_open(k->f->path, &k->in, &k->before, e);

    if (rc) return rc;
    if ((uint64_t)k->before.st_size != k->f->bytes)
        return error_set(e, ESTALE, "%s changed while it was looked at: run the same command again", k->f->path);
    posix_fadvise(k->in, 0, 0, POSIX_FADV_SEQUENTIAL);
    rc = file_read_at(k->in, k->header, k->f->header_bytes, 0);
    if (rc) return read_failed(k, rc, 0, e);
    return open_output(k->partial, O_CREAT, &k->out, e);
}

static int pack_anew(struct packing *k, struct progress *p, struct packed_file *x, struct error *e)
{
    int rc;

    k->lengths = calloc(k->f->units + 1, sizeof *k->lengths);
    k->header = malloc(k->f->header_bytes);
    rc = k->lengths && k->header ? open_both(k, e) : error_set(e, ENOMEM, "%s: no memory to pack it", k->f->path);
    if (!rc) rc = pack_pieces(k, p, e);
    if (!rc) rc = finish(k, x, e);
    if (k->in >= 0) close(k->in);
    if (k->out >= 0) close(k->out);
    free(k->lengths);
    free(k->header);
    sha256_free(&k->sum);
    return rc;
}

/* Is it there, whole, and of this file? Then x says what the index wants to know. Its bytes were compared before it got its
 * name. */
static bool is_done(struct packing *k, struct progress *p, struct packed_file *x)
{
    struct packed *done = NULL;
    struct stat st;
    int fd;
    bool same = false;

    if (file_open(k->path, &fd, &st, NULL)) return false;
    if (!packed_read(&done, k->path, fd, (uint64_t)st.st_size, NULL) && done && done->head.raw_bytes == k->f->bytes &&
        done->head.header_bytes == k->f->header_bytes && done->head.units == k->f->units) {
        same = true;
        x->raw_bytes = k->f->bytes;
        x->stored_bytes = done->head.stored_bytes;
        x->front_sum = done->head.sum;
        packed_hex(x->sha256, done->head.raw_sha256, PACKED_SHA256);
        for (uint64_t i = 0; i < done->head.segments; i++)
            if (done->segment[i].unit_rows)
                k->r->unit_bytes += packed_unit(done, &done->segment[i], packed_units(&done->segment[i])) -
                                    packed_unit(done, &done->segment[i], 0);
        k->r->kept_bytes += k->f->bytes;
        p->done += k->f->bytes - k->f->header_bytes;
    }
    packed_close(done);
    close(fd);
    return same;
}

int pack_file(const struct cut_file *f, const struct pack_options *o, struct progress *p, struct pack_result *r,
              struct packed_file *x, struct error *e)
{
    struct packing k = {.f = f, .o = o, .code = unit_code(), .in = -1, .out = -1, .resuming = true, .r = r};
    int rc;

    k.path = join(o->out, f->name, PACKED_SUFFIX);
    k.partial = join(o->out, f->name, PACKED_SUFFIX PACKED_PARTIAL);
    k.front_bytes = k.at = packed_front_bytes(f->header_bytes, f->segments, f->units);
    rc = k.path && k.partial ? 0 : error_set(e, ENOMEM, "%s: no memory to pack it", f->path);
    if (!rc && k.front_bytes > PACKED_FRONT_MOST)
        rc = error_set(e, EFBIG, "%s: its %llu units are more than a packed file can have", f->path,
                       (unsigned long long)f->units);
    if (!rc) rc = make_parents(o->out, f->name, e);
    if (!rc && !is_done(&k, p, x)) rc = pack_anew(&k, p, x, e);
    if (!rc) {
        x->name = strdup(f->name);
        if (!x->name) rc = error_set(e, ENOMEM, "%s: no memory to pack it", f->path);
        r->raw_bytes += f->bytes;
        r->stored_bytes += x->stored_bytes;
        r->matrix_bytes += f->matrix_bytes;
        r->files++;
    }
    free(k.path);
    free(k.partial);
    return rc;
}
