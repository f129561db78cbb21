#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "coordinator/pack/private.h"
#include "proto/base/file.h"

#define MARKER "sluice-unpack.partial"

struct unpacking {
    const struct pack_options *o;
    const struct packed_file *x;
    const struct unit_code *code;
    struct packed *front;
    struct numbers *numbers;
    char *from, *path, *partial; /* path, partial: NULL where nothing is written */
    int in, out;
    uint64_t started; /* the disk has begun with what lies before this */
    struct sha256 sum;
};

/* Where a piece lies. */
static void place_piece(const struct unpacking *k, struct piece *x)
{
    const struct packed_segment *s = x->segment;
    uint64_t unit = x->unit - s->unit0;

    if (!x->cols) {
        x->stored_off = s->stored_off + (x->raw_off - s->raw_off);
        return;
    }
    x->stored_off = packed_unit(k->front, s, unit);
    x->stored_bytes = packed_unit(k->front, s, unit + 1) - x->stored_off;
}

static int unpack_unit(const struct unpacking *k, struct piece *x, struct error *e)
{
    struct unit u;
    int rc = unit_open(&u, x->stored, x->stored_bytes, e);

    if (!rc) rc = unit_check(&u, e);
    if (!rc && (u.stored != x->stored_bytes || u.rows != x->rows || u.cols != x->cols))
        rc = error_set(e, EBADMSG, "a unit of %u x %u weights, where %u x %u should be", u.rows, u.cols, x->rows,
                       x->cols);
    if (!rc && k->code->decode(&u, 0, u.chunks, x->raw)) rc = error_set(e, EBADMSG, "the unit does not unpack");
    return rc ? error_prefix(e, "%s: offset %llu", k->from, (unsigned long long)x->stored_off) : 0;
}

static int unpack_piece(void *arg, struct piece *x, struct error *e)
{
    const struct unpacking *k = arg;
    int rc;

    place_piece(k, x);
    rc = file_read_at(k->in, x->cols ? x->stored : x->raw, x->stored_bytes, x->stored_off);
    if (rc)
        return error_set(e, -rc, "%s: offset %llu: %s", k->from, (unsigned long long)x->stored_off, error_name(-rc));
    return x->cols ? unpack_unit(k, x, e) : 0;
}

static int write_failed(const struct unpacking *k, int rc, struct error *e)
{
    bool room = rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;

    return error_set(e, -rc, "%s: %s%s", k->partial, error_name(-rc),
                     room ? ": make room and run the same command again, it goes on with this file" : "");
}

static int write_piece(void *arg, struct piece *x, struct error *e)
{
    const struct unpacking *k = arg;
    int rc = k->out < 0 ? 0 : write_at(k->out, x->raw, x->raw_bytes, x->raw_off);

    return rc ? write_failed(k, rc, e) : 0;
}

/* The batch after the next one. */
static void read_ahead(void *arg, const struct batch *b)
{
    const struct unpacking *k = arg;
    const struct piece *x = &b->piece[b->count - 1];
    uint64_t end = x->stored_off + x->stored_bytes, bytes = end - b->piece[0].stored_off;

    posix_fadvise(k->in, (off_t)(end + bytes), (off_t)bytes, POSIX_FADV_WILLNEED);
}

static void sum_pieces(void *arg, const struct batch *b)
{
    struct unpacking *k = arg;

    batch_sum(&k->sum, b);
}

static void count_numbers(void *arg, const struct batch *b)
{
    struct unpacking *k = arg;

    for (uint32_t i = 0; i < b->count; i++)
        numbers_feed(k->numbers, b->piece[i].raw_off, b->piece[i].raw, b->piece[i].raw_bytes);
}

/* What was written before this batch: all of it is there. */
static void start_disk(void *arg, const struct batch *b)
{
    struct unpacking *k = arg;
    uint64_t to = b->piece[0].raw_off;

    start_writing(k->out, k->started, to);
    k->started = to;
}

static int unpack_pieces(struct unpacking *k, struct progress *p, struct error *e)
{
    const struct batch_work w = {.arg = k,
                                 .begin = unpack_piece,
                                 .end = write_piece,
                                 .ordered = {read_ahead, sum_pieces, k->out < 0 ? count_numbers : start_disk}};
    struct pieces all = {.segment = k->front->segment, .segments = k->front->head.segments};
    int rc = k->out < 0 ? 0 : write_at(k->out, k->front->header, k->front->head.header_bytes, 0);

    if (rc) return write_failed(k, rc, e);
    rc = sha256_begin(&k->sum, e);
    if (rc) return rc;
    sha256_feed(&k->sum, k->front->header, k->front->head.header_bytes);
    return batch_all(&all, &w, k->o, p, e);
}

static int compare_sums(struct unpacking *k, struct error *e)
{
    uint8_t digest[PACKED_SHA256];
    char hex[2 * PACKED_SHA256 + 1];

    int rc = sha256_end(&k->sum, digest, e);

    if (rc) return rc;
    packed_hex(hex, digest, PACKED_SHA256);
    if (!memcmp(digest, k->front->head.raw_sha256, sizeof digest) && !strcmp(hex, k->x->sha256)) return 0;
    return error_set(e, EBADMSG,
                     "%s: what it unpacks to is not what was packed: its SHA-256 is %s, and should be %s: copy "
                     "or pack the folder again",
                     k->from, hex, k->x->sha256);
}

static int open_front(struct unpacking *k, struct error *e)
{
    struct stat st;
    int rc = file_open(k->from, &k->in, &st, e);

    if (!rc) rc = packed_read(&k->front, k->from, k->in, (uint64_t)st.st_size, e);
    if (rc) return rc;
    if (!k->front || k->front->head.sum != k->x->front_sum || k->front->head.raw_bytes != k->x->raw_bytes)
        return error_set(e, EBADMSG,
                         "%s: it is not the file that " PACKED_INDEX " speaks of: copy or pack the folder again",
                         k->from);
    return 0;
}

static int unpack_through(struct unpacking *k, struct progress *p, struct error *e)
{
    int rc = open_front(k, e);

    if (!rc && k->path) rc = open_output(k->partial, O_CREAT | O_TRUNC, &k->out, e);
    numbers_begin(k->numbers, k->x->name);
    if (!rc) rc = unpack_pieces(k, p, e);
    if (!rc) rc = compare_sums(k, e);
    if (!rc) numbers_tell(k->numbers);
    if (!rc && k->out >= 0) rc = settle_file(k->out, k->partial, k->path, e);
    if (rc && k->out >= 0) unlink(k->partial);
    if (k->in >= 0) close(k->in);
    if (k->out >= 0) close(k->out);
    packed_close(k->front);
    sha256_free(&k->sum);
    return rc;
}

static bool is_there(const char *path, uint64_t bytes)
{
    struct stat st;

    return path && !stat(path, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes;
}

static int unpack_file(const char *folder, const struct packed_file *x, const struct pack_options *o,
                       struct numbers *numbers, struct progress *p, struct pack_result *r, struct error *e)
{
    struct unpacking k = {.o = o, .x = x, .code = unit_code(), .numbers = numbers, .in = -1, .out = -1};
    int rc = 0;

    k.from = join(folder, x->name, PACKED_SUFFIX);
    k.path = o->out ? join(o->out, x->name, "") : NULL;
    k.partial = o->out ? join(o->out, x->name, PACKED_PARTIAL) : NULL;
    if (!k.from || (o->out && (!k.path || !k.partial)))
        rc = error_set(e, ENOMEM, "%s: no memory to unpack it", x->name);
    if (!rc && o->out) rc = make_parents(o->out, x->name, e);
    if (!rc && is_there(k.path, x->raw_bytes)) { /* it got its name when its sum was right */
        p->done += x->raw_bytes;
        r->kept_bytes += x->raw_bytes;
    } else if (!rc) {
        rc = unpack_through(&k, p, e);
    }
    if (!rc) {
        r->raw_bytes += x->raw_bytes;
        r->stored_bytes += x->stored_bytes;
        r->files++;
        if (o->told) o->told(o->arg, x->name, x->sha256);
    }
    free(k.from);
    free(k.path);
    free(k.partial);
    return rc;
}

/* What is wrong with one file is no reason to leave out the others, where somebody wants to know. */
static int tell_failure(const struct pack_options *o, const char *name, int rc, const struct error *why,
                        struct error *e)
{
    if (!rc) return 0;
    if (!o->failed || o->out || rc == -ECANCELED || rc == -ENOMEM) {
        if (e) *e = *why;
        return rc;
    }
    o->failed(o->arg, name, why->text);
    return 0;
}

static int unpack_all(const struct source *s, const struct packed_index *x, const struct pack_options *o,
                      struct pack_result *r, struct error *e)
{
    const char *folder = source_path(s);
    struct numbers *numbers;
    char sum[2 * PACKED_SHA256 + 1];
    struct progress p = {0};
    int rc = numbers_open(&numbers, s, o, e);

    for (size_t i = 0; i < x->files; i++) p.total += x->file[i].raw_bytes;
    for (size_t i = 0; i < x->files && !rc; i++) {
        struct error why = {0};
        uint64_t done = p.done + x->file[i].raw_bytes;

        rc = unpack_file(folder, &x->file[i], o, numbers, &p, r, &why);
        rc = tell_failure(o, x->file[i].name, rc, &why, e);
        p.done = done;
    }
    for (size_t i = 0; i < x->copies && !rc; i++) {
        struct error why = {0};

        rc = copy_file(folder, o->out, x->copied[i].name, sum, x->copied[i].sha256, &why);
        if (!rc && o->told) o->told(o->arg, x->copied[i].name, x->copied[i].sha256);
        rc = tell_failure(o, x->copied[i].name, rc, &why, e);
    }
    numbers_close(numbers);
    return rc;
}

/* Files that are there already are whole. */
static int check_space(const struct packed_index *x, const char *out, struct error *e)
{
    uint64_t need = 0;

    for (size_t i = 0; i < x->files; i++) {
        uint64_t there = bytes_there(out, x->file[i].name, "");

        need += x->file[i].raw_bytes > there ? x->file[i].raw_bytes - there : 0;
    }
    for (size_t i = 0; i < x->copies; i++) need += x->copied[i].raw_bytes;
    return check_room(out, need, "unpacked", e);
}

int unpack_folder(const struct source *s, const struct pack_options *o, struct pack_result *r, struct error *e)
{
    const char *folder = source_path(s);
    struct packed_index x = {0};
    struct place_out place;
    char text[256];
    int rc;

    *r = (struct pack_result){0};
    if (!packed_folder(folder)) {
        rc = packed_folder_check(folder, e);
        return rc ? rc : error_set(e, EINVAL, "%s: it is not packed: it has no " PACKED_INDEX, folder);
    }
    rc = packed_index_read(&x, folder, e);
    if (rc) return rc;
    if (!o->out) {
        rc = unpack_all(s, &x, o, r, e);
        packed_index_free(&x);
        return rc;
    }
    snprintf(text, sizeof text, "sluice-unpack 1 %s\n", x.files ? x.file[0].sha256 : "");
    rc = place_out_open(&place, o->out, folder, MARKER, text, "config.json", e);
    if (!rc) {
        rc = check_space(&x, o->out, e);
        if (!rc) rc = unpack_all(s, &x, o, r, e);
        if (rc)
            place_out_close(&place, false, NULL);
        else
            rc = place_out_close(&place, true, e);
    }
    packed_index_free(&x);
    return rc;
}
