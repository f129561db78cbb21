/* The state of a parse or rendering: its memory, its limits, and how it fails. */
#include "coordinator/jinja/value.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Under AddressSanitizer each object is an allocation of its own, so that a write past one is seen. */
#if defined(__SANITIZE_ADDRESS__)
enum { CHUNK_BYTES = 0 };
#else
enum { CHUNK_BYTES = 64 * 1024 };
#endif

static void leave_with(struct jinja_run *r, int code)
{
    r->code = code;
    longjmp(r->fail, 1);
}

static _Noreturn void fail_text(struct jinja_run *r, int code, const char *fmt, va_list ap)
{
    if (r->error) {
        char what[ERROR_TEXT_BYTES - 32];
        vsnprintf(what, sizeof what, fmt, ap);
        error_set(r->error, code, "line %u: %s", r->line, what);
    }
    leave_with(r, code);
    __builtin_unreachable();
}

void jrun_fail(struct jinja_run *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_text(r, EINVAL, fmt, ap);
}

void jrun_fail_code(struct jinja_run *r, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_text(r, code, fmt, ap);
}

void jrun_charge_slow(struct jinja_run *r)
{
    jrun_fail_code(r, E2BIG, "the template has run for %llu steps, the limit; it may loop without an end",
                   (unsigned long long)r->limits.steps);
}

void jrun_enter(struct jinja_run *r)
{
    jrun_charge(r, 1);
    if (++r->depth > r->limits.depth) jrun_fail_code(r, E2BIG, "nested more than %u deep, the limit", r->limits.depth);
}

static void chunk_add(struct jinja_run *r, size_t bytes)
{
    struct jarena *a = &r->arena;
    if (bytes > r->limits.held_bytes || a->held > r->limits.held_bytes - bytes)
        jrun_fail_code(r, E2BIG, "the template holds more than %zu bytes, the limit", r->limits.held_bytes);
    struct jchunk *c = malloc(sizeof *c + bytes);
    if (!c) jrun_fail_code(r, ENOMEM, "out of memory (%zu bytes)", bytes);
    c->next = a->chunks;
    a->chunks = c;
    a->free = c->bytes;
    a->left = bytes;
    a->held += bytes + sizeof *c;
}

static void *take(struct jinja_run *r, size_t bytes)
{
    struct jarena *a = &r->arena;
    if (bytes > a->left) {
        /* A large object gets a chunk of its own and leaves the open one open. */
        struct jarena open = *a;
        chunk_add(r, bytes > CHUNK_BYTES / 4 ? bytes : CHUNK_BYTES);
        if (bytes > CHUNK_BYTES / 4) {
            void *p = a->free;
            a->free = open.free;
            a->left = open.left;
            return p;
        }
    }
    void *p = a->free;
    a->free += bytes;
    a->left -= bytes;
    return p;
}

void *jrun_alloc(struct jinja_run *r, size_t bytes)
{
    bytes = bytes ? (bytes + 7) & ~(size_t)7 : 8;
    size_t pad = (8 - ((uintptr_t)r->arena.free & 7)) & 7;
    if (pad && pad <= r->arena.left) {
        r->arena.free += pad;
        r->arena.left -= pad;
    } else if (pad) {
        r->arena.left = 0;
    }
    return memset(take(r, bytes), 0, bytes);
}

void *jrun_array(struct jinja_run *r, size_t n, size_t bytes_each)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, bytes_each, &bytes) || bytes > SIZE_MAX / 2)
        jrun_fail_code(r, E2BIG, "a list of %zu elements is past the limit", n);
    jrun_charge(r, n / 16);
    return jrun_alloc(r, bytes);
}

char *jrun_bytes(struct jinja_run *r, size_t bytes)
{
    jrun_charge_bytes(r, bytes);
    return take(r, bytes ? bytes : 1);
}

void jarena_free(struct jarena *a)
{
    for (struct jchunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct jarena){0};
}
