#include "proto/verify.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool table_fits(const struct verify_shm *s, uint64_t offset, uint64_t count, uint64_t size)
{
    uint64_t bytes;

    return offset % 8 == 0 && offset >= sizeof *s && offset <= s->bytes &&
           !__builtin_mul_overflow(count, size, &bytes) && bytes <= s->bytes - offset;
}

static bool string_fits(const struct verify_shm *s, uint64_t at)
{
    return at >= s->string_off && at < s->bytes && memchr((const char *)s + at, 0, s->bytes - at);
}

static bool spans_fit(struct verify_shm *s, const struct verify_file *f)
{
    const struct verify_span *x;
    uint64_t end = 0;

    if (f->span0 > s->span_count || f->spans > s->span_count - f->span0) return false;
    x = verify_spans(s) + f->span0;
    for (uint64_t i = 0; i < f->spans; i++, x++) {
        if (x->offset < end || x->offset > f->bytes || x->bytes > f->bytes - x->offset) return false;
        if (!form_info(x->form) || x->bytes % form_info(x->form)->bytes) return false;
        end = x->offset + x->bytes;
    }
    return true;
}

int verify_check(struct verify_shm *s, uint64_t map_bytes, struct error *e)
{
    if (map_bytes < sizeof *s || s->magic != VERIFY_MAGIC || s->version != VERIFY_VERSION || s->bytes > map_bytes)
        return error_set(e, EPROTO, "verify: not a job of this program; all executables must be of one build");
    if (!table_fits(s, s->file_off, s->file_count, sizeof(struct verify_file)) ||
        !table_fits(s, s->span_off, s->span_count, sizeof(struct verify_span)) || s->string_off > s->bytes)
        return error_set(e, EPROTO, "verify: a table lies outside of the job");
    for (uint64_t i = 0; i < s->file_count; i++) {
        const struct verify_file *f = verify_files(s) + i;

        if (!string_fits(s, f->path) || !spans_fit(s, f))
            return error_set(e, EPROTO, "verify: file %llu of the job is described wrongly", (unsigned long long)i);
    }
    return 0;
}
