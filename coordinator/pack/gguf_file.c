/* The data of a GGUF file, by all threads, piece by piece in the order in which they lie.
 *
 * OUT.resume: a line that says what is written from what, then for each piece that is whole a struct record. What it says of a
 * piece counts where the bytes that lie in OUT.partial have the sum. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "coordinator/pack/gguf.h"
#include "coordinator/pack/private.h"
#include "proto/base/checksum.h"
#include "proto/base/file.h"

#define PARTIAL      ".partial"
#define RESUME       ".resume"
#define SUFFIX       ".gguf"
#define PIECE_BYTES  (UINT64_C(1) << 20)
#define BATCH_BYTES  (UINT64_C(64) << 20)
#define BATCH_LEAST  (UINT64_C(128) << 10)
#define BATCH_PIECES 1024u
#define THREADS_MOST 256u
#define LINE_BYTES   128u
#define SPACE_MARGIN (UINT64_C(16) << 20)

struct record {
    double lost, all;
    uint64_t sum, check; /* check: of what stands before it, and of where the piece is */
};

struct out_file {
    char *path, *partial;
    int fd;
    bool settled; /* it has its name already */
};

struct writing {
    struct gguf_pack *p;
    const struct gguf_pack_options *o;
    struct pack_result *r;
    struct out_file *file; /* [p->files.count] */
    char *resume;
    int log, *in; /* in: of each of the source's files */
    uint64_t logged;
    double *lost, *all; /* [made.count] */
    uint64_t done, total, began;
    size_t tensor; /* where the next piece begins */
    uint64_t row;
    struct error *e;
};

static int no_memory(const struct writing *w)
{
    return error_set(w->e, ENOMEM, "%s: no memory to write it", w->o->pack.out);
}

static int write_failed(const struct writing *w, const char *path, int rc)
{
    bool room = rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;

    return error_set(w->e, -rc, "%s: %s%s", path, error_name(-rc),
                     room ? ": make room and run the same command again, it goes on where it ended" : "");
}

/* ---- pieces ---- */

static uint64_t piece_bytes(const struct writing *w)
{
    return w->o->pack.unit_bytes ? w->o->pack.unit_bytes : PIECE_BYTES;
}

static bool next_piece(struct writing *w, struct row_piece *x)
{
    const struct gguf_pack *p = w->p;

    while (w->tensor < p->made.count) {
        const struct gguf_made_tensor *t = &p->made.at[w->tensor];
        uint64_t rows = gguf_made_rows(t), each = row_bytes(p->type[w->tensor], t->dims[0]),
                 most = piece_bytes(w) / (each ? each : 1), n = rows - w->row;

        if (n) {
            if (n > (most ? most : 1)) n = most ? most : 1;
            *x = (struct row_piece){.tensor = w->tensor, .row = w->row, .rows = n, .bytes = n * each};
            w->row += n;
            return true;
        }
        w->tensor++;
        w->row = 0;
    }
    return false;
}

static uint64_t place_of(const struct writing *w, const struct row_piece *x, struct out_file **file)
{
    const struct gguf_out_tensor *t = &w->p->tensor[x->tensor];

    *file = &w->file[t->file];
    return t->offset + x->row * row_bytes(t->type, t->dims[0]);
}

static uint64_t check_of(const struct record *r, const struct row_piece *x)
{
    const uint64_t place[] = {x->tensor, x->row, x->rows};
    struct checksum c;

    checksum_begin(&c);
    checksum_feed(&c, r, offsetof(struct record, check));
    checksum_feed(&c, place, sizeof place);
    return checksum_end(&c);
}

static void count(struct writing *w, const struct row_piece *x)
{
    w->lost[x->tensor] += x->lost;
    w->all[x->tensor] += x->all;
    w->done += x->bytes;
}

/* ---- what is there already ---- */

static bool lies_there(const struct writing *w, const struct row_piece *x, const struct record *r, uint8_t *buffer)
{
    struct out_file *file;
    uint64_t at = place_of(w, x, &file);
    struct checksum c;

    if (r->check != check_of(r, x) || file_read_at(file->fd, buffer, x->bytes, at)) return false;
    checksum_begin(&c);
    checksum_feed(&c, buffer, x->bytes);
    return checksum_end(&c) == r->sum;
}

/* Goes on behind the last piece that is whole. */
static int find_end(struct writing *w)
{
    uint8_t *buffer = NULL;
    uint64_t room = 0;
    struct row_piece x;
    struct record r;
    int rc = 0;

    for (;;) {
        size_t tensor = w->tensor;
        uint64_t row = w->row;

        if (!next_piece(w, &x)) break;
        if (x.bytes > room) {
            free(buffer);
            room = x.bytes;
            if (!(buffer = malloc(room))) rc = no_memory(w);
        }
        if (rc || file_read_at(w->log, &r, sizeof r, w->logged) || !lies_there(w, &x, &r, buffer)) {
            w->tensor = tensor;
            w->row = row;
            break;
        }
        x.lost = r.lost;
        x.all = r.all;
        count(w, &x);
        w->r->kept_bytes += x.bytes;
        w->logged += sizeof r;
        if (stopped(&w->o->pack)) {
            rc = error_set(w->e, ECANCELED, "interrupted");
            break;
        }
    }
    free(buffer);
    if (!rc && ftruncate(w->log, (off_t)w->logged)) rc = write_failed(w, w->resume, -errno);
    return rc;
}

/* ---- many at once ---- */

struct batch_of_rows {
    struct writing *w;
    struct row_piece piece[BATCH_PIECES];
    uint32_t count;
    uint8_t *memory;
    uint64_t room;
    _Atomic uint32_t next;
    pthread_mutex_t lock;
    uint32_t failed_at;
    struct error failure;
};

static void *work(void *arg)
{
    struct batch_of_rows *b = arg;
    struct row_scratch s = {0};

    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
        struct error e = {0};
        struct out_file *file;
        uint64_t at;
        int rc;

        if (i >= b->count) break;
        rc = rows_make(b->w->p, b->w->in, &b->piece[i], &s, &e);
        at = place_of(b->w, &b->piece[i], &file);
        if (!rc && (rc = write_at(file->fd, b->piece[i].out, b->piece[i].bytes, at))) {
            struct writing copy = *b->w;

            copy.e = &e;
            write_failed(&copy, file->partial, rc);
        }
        if (!rc) continue;
        pthread_mutex_lock(&b->lock);
        if (i < b->failed_at) {
            b->failed_at = i;
            b->failure = e;
        }
        pthread_mutex_unlock(&b->lock);
    }
    row_scratch_free(&s);
    return NULL;
}

static int run(struct batch_of_rows *b)
{
    pthread_t thread[THREADS_MOST];
    uint32_t n = 0, want = b->w->o->pack.threads < THREADS_MOST ? b->w->o->pack.threads : THREADS_MOST;

    atomic_store_explicit(&b->next, 0, memory_order_relaxed);
    b->failed_at = UINT32_MAX;
    b->failure = (struct error){0};
    while (n + 1 < want && n < b->count && !pthread_create(&thread[n], NULL, work, b)) n++;
    work(b);
    while (n) pthread_join(thread[--n], NULL);
    if (b->failure.code) *b->w->e = b->failure;
    return -b->failure.code;
}

static int fill(struct batch_of_rows *b)
{
    struct writing *w = b->w;
    uint64_t used = 0;
    struct row_piece x;

    for (b->count = 0; b->count < BATCH_PIECES;) {
        size_t tensor = w->tensor;
        uint64_t row = w->row;

        if (!next_piece(w, &x)) break;
        if (b->count && used + x.bytes > b->room) {
            w->tensor = tensor;
            w->row = row;
            break;
        }
        used += x.bytes;
        b->piece[b->count++] = x;
    }
    if (used > b->room || !b->memory) {
        uint64_t room = used > b->room ? used : b->room;
        uint8_t *memory = realloc(b->memory, room);

        if (!memory) return no_memory(w);
        b->memory = memory;
        b->room = room;
    }
    used = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        b->piece[i].out = b->memory + used;
        used += b->piece[i].bytes;
    }
    return 0;
}

static int log_pieces(struct batch_of_rows *b)
{
    struct writing *w = b->w;
    int rc = 0;

    for (uint32_t i = 0; i < b->count && !rc; i++) {
        const struct row_piece *x = &b->piece[i];
        struct record r = {.lost = x->lost, .all = x->all, .sum = x->sum};

        r.check = check_of(&r, x);
        rc = write_at(w->log, &r, sizeof r, w->logged);
        w->logged += sizeof r;
        count(w, x);
    }
    return rc ? write_failed(w, w->resume, rc) : 0;
}

static int write_all(struct writing *w)
{
    struct batch_of_rows *b = calloc(1, sizeof *b);
    uint64_t room = w->o->pack.memory / 3;
    int rc = b ? 0 : no_memory(w);

    if (rc) return rc;
    b->w = w;
    b->room = room > BATCH_BYTES ? BATCH_BYTES : room < BATCH_LEAST ? BATCH_LEAST : room;
    pthread_mutex_init(&b->lock, NULL);
    while (!rc) {
        if (stopped(&w->o->pack)) rc = error_set(w->e, ECANCELED, "interrupted");
        if (!rc) rc = fill(b);
        if (rc || !b->count) break;
        rc = run(b);
        if (!rc) rc = log_pieces(b);
        if (!rc && w->o->pack.progress) w->o->pack.progress(w->o->pack.arg, w->done, w->total);
    }
    pthread_mutex_destroy(&b->lock);
    free(b->memory);
    free(b);
    return rc;
}

/* ---- files ---- */

static int name_files(struct writing *w)
{
    const char *out = w->o->pack.out;
    size_t n = strlen(out), stem = n - strlen(SUFFIX);
    uint32_t files = w->p->files.count;

    w->file = calloc(files, sizeof *w->file);
    if (!w->file || asprintf(&w->resume, "%s" RESUME, out) < 0) return no_memory(w);
    for (uint32_t i = 0; i < files; i++) {
        struct out_file *f = &w->file[i];
        int rc = files == 1 ? asprintf(&f->path, "%s", out)
                            : asprintf(&f->path, "%.*s-%05u-of-%05u" SUFFIX, (int)stem, out, i + 1, files);

        f->fd = -1;
        if (rc < 0) {
            f->path = NULL;
            return no_memory(w);
        }
        if (asprintf(&f->partial, "%s" PARTIAL, f->path) < 0) {
            f->partial = NULL;
            return no_memory(w);
        }
    }
    return 0;
}

static int refuse_names(const struct writing *w)
{
    const struct tensors *t = w->p->made.tensors;
    struct stat st, in;

    for (uint32_t i = 0; i < w->p->files.count; i++) {
        const struct out_file *f = &w->file[i];

        if (!access(f->partial, F_OK) && access(w->resume, F_OK))
            return error_set(w->e, EEXIST, "%s is there, and nothing says what it is: remove it, or give another name",
                             f->partial);
        if (stat(f->path, &st)) continue;
        for (uint32_t k = 0; k < t->file_count; k++)
            if (!stat(t->files[k].path, &in) && in.st_dev == st.st_dev && in.st_ino == st.st_ino)
                return error_set(w->e, EINVAL, "%s is what is read: give another name for the result", f->path);
        if (access(w->resume, F_OK))
            return error_set(w->e, EEXIST, "%s is there already: remove it, or give another name", f->path);
    }
    return 0;
}

/* What the result is made of, and how: whoever goes on must find the same. */
static void identity(const struct writing *w, char line[LINE_BYTES])
{
    const struct tensors *t = w->p->made.tensors;
    const uint64_t piece = piece_bytes(w);
    struct checksum sum;

    checksum_begin(&sum);
    checksum_feed(&sum, &piece, sizeof piece);
    for (uint32_t i = 0; i < t->file_count; i++) {
        const struct safetensors_file *f = &t->files[i].info;
        const uint64_t facts[] = {f->bytes, f->mtime_ns, f->header_bytes, f->header_sum};

        checksum_feed(&sum, t->files[i].name, strlen(t->files[i].name) + 1);
        checksum_feed(&sum, facts, sizeof facts);
    }
    for (uint32_t i = 0; i < w->p->files.count; i++)
        checksum_feed(&sum, w->p->files.at[i].header.data, w->p->files.at[i].header.bytes);
    memset(line, ' ', LINE_BYTES);
    snprintf(line, LINE_BYTES, "sluice-gguf 1 %016" PRIx64, checksum_end(&sum));
    line[strlen(line)] = ' ';
    line[LINE_BYTES - 1] = '\n';
}

static int open_log(struct writing *w)
{
    char want[LINE_BYTES], have[LINE_BYTES];
    struct stat st;
    int rc = 0;

    rc = open_output(w->resume, O_CREAT, &w->log, w->e);
    if (rc == -ENOENT)
        return error_set(w->e, ENOENT, "%s: the folder that it would lie in is not there: make it first",
                         w->o->pack.out);
    if (rc) return rc;
    if (flock(w->log, LOCK_EX | LOCK_NB))
        return error_set(w->e, EBUSY, "%s: another run writes to this file: wait for its end", w->o->pack.out);
    identity(w, want);
    if (fstat(w->log, &st)) return write_failed(w, w->resume, -errno);
    if (st.st_size < (off_t)LINE_BYTES)
        rc = write_at(w->log, want, LINE_BYTES, 0);
    else if (file_read_at(w->log, have, LINE_BYTES, 0) || memcmp(have, want, LINE_BYTES))
        return error_set(w->e, EEXIST,
                         "%s is of another result, or the model has changed since: remove it and %s" PARTIAL
                         ", or give another name",
                         w->resume, w->file[0].path);
    w->logged = LINE_BYTES;
    return rc ? write_failed(w, w->resume, rc) : 0;
}

static int open_outputs(struct writing *w)
{
    for (uint32_t i = 0; i < w->p->files.count; i++) {
        struct out_file *f = &w->file[i];

        f->settled = access(f->partial, F_OK) && !access(f->path, F_OK);
        int rc = open_output(f->settled ? f->path : f->partial, f->settled ? 0 : O_CREAT, &f->fd, w->e);

        if (rc) return rc;
    }
    return 0;
}

static int check_space(const struct writing *w)
{
    uint64_t need = w->p->bytes + SPACE_MARGIN, there = 0, room;
    struct statvfs fs;
    struct stat st;

    for (uint32_t i = 0; i < w->p->files.count; i++)
        if (!fstat(w->file[i].fd, &st)) there += (uint64_t)st.st_blocks * 512;
    need = need > there ? need - there : 0;
    if (fstatvfs(w->file[0].fd, &fs)) return 0; /* who writes will see */
    room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room >= need) return 0;
    return error_set(w->e, ENOSPC,
                     "%s: it takes %.3f GB, and its disk has %.3f GB left: make room, or give a name on another disk",
                     w->o->pack.out, (double)need / 1e9, (double)room / 1e9);
}

static uint64_t time_ns(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* As it was when its header was read? */
static int unchanged(const struct writing *w)
{
    const struct tensors *t = w->p->made.tensors;

    for (uint32_t i = 0; i < t->file_count; i++) {
        const struct safetensors_file *f = &t->files[i].info;
        struct stat st;

        if (w->in[i] < 0) continue;
        if (!fstat(w->in[i], &st) && (uint64_t)st.st_size == f->bytes && time_ns(st.st_mtim) == f->mtime_ns &&
            time_ns(st.st_ctim) == f->ctime_ns && (uint64_t)st.st_ino == f->inode)
            continue;
        return error_set(
            w->e, ESTALE,
            "%s changed while it was read: let the copy or download end, remove %s, and run the same command "
            "again",
            t->files[i].path, w->resume);
    }
    return 0;
}

static int open_inputs(struct writing *w)
{
    const struct tensors *t = w->p->made.tensors;

    w->in = malloc((t->file_count + 1) * sizeof *w->in);
    if (!w->in) return no_memory(w);
    for (uint32_t i = 0; i < t->file_count; i++) w->in[i] = -1;
    for (uint32_t i = 0; i < t->file_count; i++) {
        struct stat st;

        if (t->files[i].absent) continue;
        if (file_open(t->files[i].path, &w->in[i], &st, w->e)) return -w->e->code;
        posix_fadvise(w->in[i], 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    return unchanged(w);
}

static int settle(struct writing *w)
{
    for (uint32_t i = 0; i < w->p->files.count; i++) {
        struct out_file *f = &w->file[i];
        const struct buffer *h = &w->p->files.at[i].header;
        int rc = write_at(f->fd, h->data, h->bytes, 0);

        if (!rc && ftruncate(f->fd, (off_t)w->p->files.at[i].bytes)) rc = -errno;
        if (rc) return write_failed(w, f->partial, rc);
        if (f->settled) continue;
        if ((rc = settle_file(f->fd, f->partial, f->path, w->e))) return rc;
    }
    if (unlink(w->resume)) return error_set(w->e, errno, "%s: %s", w->resume, error_name(errno));
    return 0;
}

/* Where nothing was written yet, nothing stays. */
static void take_away(const struct writing *w)
{
    if (w->log < 0 || w->logged != LINE_BYTES || w->done) return;
    for (uint32_t i = 0; i < w->p->files.count; i++)
        if (w->file[i].fd >= 0 && !w->file[i].settled) unlink(w->file[i].partial);
    unlink(w->resume);
}

static void close_all(struct writing *w)
{
    for (uint32_t i = 0; w->file && i < w->p->files.count; i++) {
        if (w->file[i].fd >= 0) close(w->file[i].fd);
        free(w->file[i].path);
        free(w->file[i].partial);
    }
    for (uint32_t i = 0; w->in && i < w->p->made.tensors->file_count; i++)
        if (w->in[i] >= 0) close(w->in[i]);
    if (w->log >= 0) close(w->log);
    free(w->file);
    free(w->resume);
    free(w->in);
    free(w->lost);
    free(w->all);
}

static int refuse_suffix(const struct writing *w)
{
    const char *out = w->o->pack.out;

    if (tensors_name_ends(out, SUFFIX) && strlen(out) > strlen(SUFFIX)) return 0;
    return error_set(w->e, EINVAL, "%s: give a name that ends with " SUFFIX " for the file", out);
}

int gguf_pack_write(struct gguf_pack *p, const struct gguf_pack_options *o, struct pack_result *r, struct error *e)
{
    struct writing w = {.p = p, .o = o, .r = r, .log = -1, .e = e};
    int rc = refuse_suffix(&w);

    w.lost = calloc(p->made.count + 1, sizeof *w.lost);
    w.all = calloc(p->made.count + 1, sizeof *w.all);
    if (!rc && (!w.lost || !w.all)) rc = no_memory(&w);
    for (size_t i = 0; i < p->made.count; i++) w.total += p->tensor[i].bytes;
    if (!rc) rc = name_files(&w);
    if (!rc) rc = refuse_names(&w);
    if (!rc) rc = open_inputs(&w);
    if (!rc) rc = open_log(&w);
    if (!rc) rc = open_outputs(&w);
    if (!rc) rc = check_space(&w);
    if (!rc) rc = find_end(&w);
    if (!rc) rc = write_all(&w);
    if (!rc) rc = unchanged(&w);
    if (!rc) rc = settle(&w);
    for (size_t i = 0; i < p->made.count && !rc; i++)
        p->report[i].error = w.all[i] > 0 ? sqrt(w.lost[i] / w.all[i]) : 0;
    if (rc) take_away(&w);
    r->stored_bytes = p->bytes;
    r->files = p->files.count;
    close_all(&w);
    return rc;
}
