/* A growing string of bytes. A failed allocation is remembered instead of reported each time: appends become no-ops, and
 * the caller asks once, at the end of its work, whether `failed` is set. Who wants to know at once calls buffer_put(). */
#pragma once
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "proto/base/error.h"

struct buffer {
    char *data;
    size_t bytes, capacity;
    bool failed;
};

static inline bool buffer_reserve(struct buffer *b, size_t more)
{
    if (b->capacity - b->bytes >= more) return true;
    size_t want = b->capacity ? b->capacity : 64;
    while (want - b->bytes < more && want <= SIZE_MAX / 2) want *= 2;
    char *grown = b->failed || want - b->bytes < more ? NULL : realloc(b->data, want);
    if (!grown) {
        b->failed = true;
        return false;
    }
    b->data = grown;
    b->capacity = want;
    return true;
}

static inline void buffer_append(struct buffer *b, const char *data, size_t bytes)
{
    if (bytes && buffer_reserve(b, bytes)) {
        memcpy(b->data + b->bytes, data, bytes);
        b->bytes += bytes;
    }
}

static inline void buffer_append_text(struct buffer *b, const char *text)
{
    buffer_append(b, text, strlen(text));
}

static inline void buffer_append_byte(struct buffer *b, char byte)
{
    if (buffer_reserve(b, 1)) b->data[b->bytes++] = byte;
}

/* Appends; -ENOMEM, and the buffer as it was, where there is no memory. */
static inline int buffer_put(struct buffer *b, const char *data, size_t bytes, struct error *e)
{
    if (bytes && !buffer_reserve(b, bytes)) {
        b->failed = false;
        return error_set(e, ENOMEM, "out of memory");
    }
    buffer_append(b, data, bytes);
    return 0;
}

/* A NUL behind the bytes, not counted among them: data is a string until the next change. */
static inline int buffer_terminate(struct buffer *b, struct error *e)
{
    int rc = buffer_put(b, "", 1, e);

    if (!rc) b->bytes--;
    return rc;
}

/* Puts bytes in at an offset <= b->bytes. */
static inline void buffer_insert(struct buffer *b, size_t at, const char *data, size_t bytes)
{
    if (bytes && buffer_reserve(b, bytes)) {
        memmove(b->data + at + bytes, b->data + at, b->bytes - at);
        memcpy(b->data + at, data, bytes);
        b->bytes += bytes;
    }
}

/* Takes bytes away at the front. */
static inline void buffer_drop(struct buffer *b, size_t bytes)
{
    if (bytes == 0) return;
    b->bytes -= bytes;
    memmove(b->data, b->data + bytes, b->bytes);
}

static inline void buffer_swap(struct buffer *a, struct buffer *b)
{
    struct buffer keep = *a;
    *a = *b;
    *b = keep;
}

static inline void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}

/* Room for `want` elements in an array from malloc: the array, perhaps moved, or NULL with the old one untouched. */
static inline void *array_grow(void *array, size_t element_bytes, size_t *capacity, size_t want)
{
    if (array && want <= *capacity) return array;
    size_t room = *capacity ? *capacity : 16;
    while (room < want) {
        if (room > SIZE_MAX / 2 / element_bytes) return NULL;
        room *= 2;
    }
    void *grown = realloc(array, room * element_bytes);
    if (grown) *capacity = room;
    return grown;
}
