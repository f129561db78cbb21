#include "coordinator/source/packed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/base/checksum.h"
#include "proto/base/file.h"
#include "proto/unit/unit.h"

#define REMEDY "copy or pack it again"

static uint64_t round_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) / to * to;
}

uint64_t packed_units(const struct packed_segment *s)
{
    return s->unit_rows ? (s->rows + (uint64_t)s->unit_rows - 1) / s->unit_rows : 0;
}

/* Behind each segment's units comes their end, so that a segment's first one is unit0 + its number. */
uint64_t packed_unit(const struct packed *p, const struct packed_segment *s, uint64_t unit)
{
    return p->unit[s->unit0 + (uint64_t)(s - p->segment) + unit];
}

const struct packed_segment *packed_find(const struct packed *p, uint64_t raw_off)
{
    uint64_t low = 0, high = p->head.segments;

    while (low < high) {
        uint64_t at = low + (high - low) / 2;

        if (p->segment[at].raw_off + p->segment[at].raw_bytes <= raw_off)
            low = at + 1;
        else
            high = at;
    }
    return low < p->head.segments && p->segment[low].raw_off <= raw_off ? &p->segment[low] : NULL;
}

/* ---- writing ---- */

static uint64_t segments_at(uint64_t header_bytes)
{
    return round_up(sizeof(struct packed_head) + header_bytes, 8);
}

uint64_t packed_front_bytes(uint64_t header_bytes, uint64_t segments, uint64_t units)
{
    return round_up(segments_at(header_bytes) + segments * sizeof(struct packed_segment) + units * sizeof(uint32_t),
                    PACKED_PAGE);
}

static uint64_t front_sum(const uint8_t *front, uint64_t bytes)
{
    struct packed_head head;
    struct checksum c;

    memcpy(&head, front, sizeof head);
    head.sum = 0;
    checksum_begin(&c);
    checksum_feed(&c, &head, sizeof head);
    checksum_feed(&c, front + sizeof head, bytes - sizeof head);
    return checksum_end(&c);
}

void packed_front(uint8_t *out, struct packed_head *head, const uint8_t *header, const struct packed_segment *segments,
                  const uint32_t *lengths)
{
    uint64_t at = segments_at(head->header_bytes);

    memset(out, 0, head->front_bytes);
    head->sum = 0;
    memcpy(out, head, sizeof *head);
    memcpy(out + sizeof *head, header, head->header_bytes);
    if (head->segments) memcpy(out + at, segments, head->segments * sizeof *segments);
    if (head->units) memcpy(out + at + head->segments * sizeof *segments, lengths, head->units * sizeof *lengths);
    head->sum = front_sum(out, head->front_bytes);
    memcpy(out, head, sizeof *head);
}

/* ---- reading ---- */

struct check {
    struct packed *p;
    const char *path;
    struct error *e;
};

static int fault(const struct check *k, const char *what)
{
    return error_set(k->e, EBADMSG, "%s: %s: it is damaged or no whole packed file: " REMEDY, k->path, what);
}

static int check_head(const struct check *k, uint64_t file_bytes)
{
    const struct packed_head *h = &k->p->head;

    if (h->version != PACKED_VERSION)
        return error_set(k->e, ENOTSUP, "%s: packed files of version %u are not known here, only of %u", k->path,
                         h->version, PACKED_VERSION);
    if (h->stored_bytes != file_bytes)
        return error_set(k->e, EBADMSG,
                         "%s: it has %llu bytes and should have %llu: it was cut short or changed: " REMEDY, k->path,
                         (unsigned long long)file_bytes, (unsigned long long)h->stored_bytes);
    if (h->front_bytes > file_bytes || h->front_bytes > PACKED_FRONT_MOST || h->front_bytes < sizeof *h ||
        h->header_bytes < 8 || h->header_bytes > h->front_bytes ||
        h->segments > h->front_bytes / sizeof *k->p->segment || h->units > h->front_bytes / sizeof(uint32_t) ||
        h->raw_bytes < h->header_bytes || h->raw_bytes > INT64_MAX ||
        packed_front_bytes(h->header_bytes, h->segments, h->units) != h->front_bytes)
        return fault(k, "its front has sizes that cannot be");
    return 0;
}

/* One segment after the other, and in each one unit after the other. */
struct walk {
    uint64_t raw, stored, unit; /* where the next begins */
};

static int check_units(const struct check *k, const struct packed_segment *s, struct walk *w, const uint8_t *lengths,
                       uint64_t *offsets)
{
    uint64_t n = packed_units(s);

    if (!s->rows || !s->cols || s->raw_bytes != 2 * (uint64_t)s->rows * s->cols || s->unit0 != w->unit ||
        n > k->p->head.units - w->unit || !unit_stored_most(s->rows < s->unit_rows ? s->rows : s->unit_rows, s->cols))
        return fault(k, "a matrix in it has no shape that can be");
    for (uint64_t i = 0; i < n; i++) {
        uint64_t rows = s->rows - i * s->unit_rows < s->unit_rows ? s->rows - i * s->unit_rows : s->unit_rows;
        uint32_t length;

        memcpy(&length, lengths + (w->unit + i) * sizeof length, sizeof length);
        if (length < UNIT_HEADER || length % UNIT_ALIGN || length > unit_stored_most(rows, s->cols))
            return fault(k, "a unit in it has a length that cannot be");
        offsets[i] = w->stored;
        w->stored += length;
    }
    offsets[n] = w->stored;
    w->unit += n;
    return 0;
}

static int check_segment(const struct check *k, uint64_t i, struct walk *w, const uint8_t *lengths)
{
    const struct packed_segment *s = &k->p->segment[i];
    const struct packed_head *h = &k->p->head;
    uint64_t *offsets = k->p->unit + w->unit + i;
    int rc = 0;

    w->stored = round_up(w->stored, PACKED_ALIGN);
    if (s->raw_off != w->raw || !s->raw_bytes || s->raw_bytes > h->raw_bytes - w->raw || s->stored_off != w->stored ||
        s->zero)
        return fault(k, "its segments do not follow each other");
    if (s->unit_rows) {
        rc = check_units(k, s, w, lengths, offsets);
    } else {
        if (s->rows || s->cols || s->unit0) return fault(k, "a segment in it is neither bytes nor a matrix");
        *offsets = w->stored;
        w->stored += s->raw_bytes;
    }
    if (!rc && w->stored > h->stored_bytes) rc = fault(k, "its segments lie beyond its end");
    w->raw += s->raw_bytes;
    return rc;
}

static int check_segments(const struct check *k)
{
    const struct packed_head *h = &k->p->head;
    struct walk w = {.raw = h->header_bytes, .stored = h->front_bytes};
    const uint8_t *lengths = (const uint8_t *)(k->p->segment + h->segments);
    int rc = 0;

    for (uint64_t i = 0; i < h->segments && !rc; i++) rc = check_segment(k, i, &w, lengths);
    if (rc) return rc;
    if (w.raw != h->raw_bytes || w.stored != h->stored_bytes || w.unit != h->units)
        return fault(k, "its segments are not all of it");
    return 0;
}

static int load(struct packed *p, const char *path, int fd, uint64_t file_bytes, struct error *e)
{
    const struct check k = {p, path, e};
    const struct packed_head *h = &p->head;
    int rc = check_head(&k, file_bytes);

    if (rc) return rc;
    p->front = malloc(h->front_bytes);
    p->unit = calloc(h->units + h->segments + 1, sizeof *p->unit);
    if (!p->front || !p->unit) return error_set(e, ENOMEM, "%s: no memory for its front", path);
    rc = file_read_at(fd, p->front, h->front_bytes, 0);
    if (rc) return error_set(e, -rc, "%s: its front cannot be read: %s", path, error_name(-rc));
    if (memcmp(p->front, h, sizeof *h) || front_sum(p->front, h->front_bytes) != h->sum)
        return fault(&k, "its front is not what was written");
    p->header = p->front + sizeof *h;
    p->segment = (const struct packed_segment *)(const void *)(p->front + segments_at(h->header_bytes));
    return check_segments(&k);
}

int packed_read(struct packed **out, const char *path, int fd, uint64_t st_bytes, struct error *e)
{
    struct packed *p;
    int rc;

    *out = NULL;
    p = calloc(1, sizeof *p);
    if (!p) return error_set(e, ENOMEM, "%s: no memory for its front", path);
    if (st_bytes < sizeof p->head || file_read_at(fd, &p->head, sizeof p->head, 0) || p->head.magic != PACKED_MAGIC) {
        free(p);
        return 0;
    }
    rc = load(p, path, fd, st_bytes, e);
    if (rc)
        packed_close(p);
    else
        *out = p;
    return rc;
}

void packed_close(struct packed *p)
{
    if (!p) return;
    free(p->front);
    free(p->unit);
    free(p);
}

char *packed_hex(char *out, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = 0;
    return out;
}
