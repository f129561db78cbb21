#include "coordinator/arch/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLOAT_ALIGN 64u /* resident vectors begin at a multiple of 256 bytes */
#define TABLE_ALIGN 64u

void *program_table_add(struct program_table *t, size_t n)
{
    void *at;

    if (t->count + n > t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 16;
        void *data;

        while (capacity < t->count + n) capacity *= 2;
        data = reallocarray(t->data, capacity, t->size);
        if (!data) return NULL;
        t->data = data;
        t->capacity = capacity;
    }
    at = memset((char *)t->data + t->count * t->size, 0, n * t->size);
    t->count += n;
    return at;
}

static void *table_add(struct program *p, struct program_table *t, size_t n)
{
    void *at = program_table_add(t, n);

    if (!at) p->failed = true;
    return at;
}

static uint32_t table_put(struct program *p, struct program_table *t, const void *record)
{
    void *at = table_add(p, t, 1);

    if (!at) return 0;
    memcpy(at, record, t->size);
    return (uint32_t)(t->count - 1);
}

void program_init(struct program *p)
{
    memset(p, 0, sizeof *p);
#define INIT(table, type) p->table.size = sizeof(type);
    PLAN_PROGRAM_TABLES(INIT)
#undef INIT
}

void program_free(struct program *p)
{
#define FREE(table, type) free(p->table.data);
    PLAN_PROGRAM_TABLES(FREE)
#undef FREE
    program_init(p);
}

uint64_t program_string(struct program *p, const char *s)
{
    size_t n = strlen(s) + 1;
    char *at = table_add(p, &p->strings, n);

    if (!at) return 0;
    memcpy(at, s, n);
    return p->strings.count - n;
}

uint32_t program_file(struct program *p, const struct plan_file *f, const char *path)
{
    struct plan_file r = *f;

    r.name = program_string(p, path);
    return table_put(p, &p->files, &r);
}

uint32_t program_matrix(struct program *p, const struct plan_matrix *m, const char *name)
{
    struct plan_matrix r = *m;

    r.name = program_string(p, name);
    return table_put(p, &p->matrices, &r);
}

uint32_t program_vector(struct program *p, const struct plan_vector *v, const char *name)
{
    struct plan_vector r = *v;

    r.name = program_string(p, name);
    return table_put(p, &p->vectors, &r);
}

/* Index of the first of n constants. */
static uint64_t add_constants(struct program *p, const float *x, size_t n)
{
    float *at = table_add(p, &p->constants, n);

    if (!at) return 0;
    memcpy(at, x, n * sizeof *x);
    return p->constants.count - n;
}

uint32_t program_constants(struct program *p, const float *x, size_t n, const char *name)
{
    struct plan_vector v = {.elements = n, .file = PLAN_NONE, .form = FORM_F32};

    v.file_off = add_constants(p, x, n);
    return program_vector(p, &v, name);
}

uint16_t program_buffer(struct program *p, uint32_t width)
{
    return (uint16_t)table_put(p, &p->buffers, &width);
}

void program_buffer_widen(struct program *p, uint16_t buf, uint32_t width)
{
    if (buf < p->buffers.count && *PROGRAM_AT(p, buffers, uint32_t, buf) < width)
        *PROGRAM_AT(p, buffers, uint32_t, buf) = width;
}

uint32_t program_rope(struct program *p, const float *inv_freq, uint32_t dim, float scale)
{
    struct plan_rope r = {.dim = dim, .scale = scale};

    for (size_t i = 0; i < p->ropes.count; i++) {
        const struct plan_rope *q = PROGRAM_AT(p, ropes, struct plan_rope, i);
        if (q->dim == dim && q->scale == scale && !q->each &&
            !memcmp(PROGRAM_AT(p, constants, float, q->inv_freq), inv_freq, dim / 2 * sizeof *inv_freq))
            return (uint32_t)i;
    }
    r.inv_freq = add_constants(p, inv_freq, dim / 2);
    return table_put(p, &p->ropes, &r);
}

uint32_t program_rope_back(struct program *p, uint32_t rope)
{
    struct plan_rope r = *PROGRAM_AT(p, ropes, struct plan_rope, rope);
    float *at = table_add(p, &p->constants, r.dim / 2);

    if (!at) return 0;
    for (uint32_t i = 0; i < r.dim / 2; i++) at[i] = -*PROGRAM_AT(p, constants, float, r.inv_freq + i);
    r.inv_freq = p->constants.count - r.dim / 2;
    return table_put(p, &p->ropes, &r);
}

uint32_t program_rope_starts(struct program *p, uint32_t rope, uint32_t each)
{
    struct plan_rope r = *PROGRAM_AT(p, ropes, struct plan_rope, rope);

    r.each = each;
    return table_put(p, &p->ropes, &r);
}

uint64_t program_numbers(struct program *p, const float *x, size_t n)
{
    return add_constants(p, x, n);
}

uint32_t program_cache(struct program *p, uint32_t k_width, uint32_t v_width)
{
    struct plan_cache c = {.k_width = k_width, .v_width = v_width};

    return table_put(p, &p->caches, &c);
}

uint32_t program_state(struct program *p, uint64_t floats)
{
    struct plan_state s = {.floats = floats};

    return table_put(p, &p->states, &s);
}

uint32_t program_experts(struct program *p, const struct plan_experts *x)
{
    return table_put(p, &p->experts, x);
}

struct plan_op *program_op(struct program *p, enum plan_op_kind kind, uint32_t layer)
{
    struct plan_op *op = table_add(p, &p->ops, 1);

    if (!op) op = &p->lost;
    op->kind = kind;
    op->layer = layer;
    return op;
}

/* ---- the image ---- */

/* A table's place behind what there is, and its records there once there is an image. */
static void lay_out(struct plan_shm *head, struct plan_shm *image, struct plan_table *to,
                    const struct program_table *from)
{
    to->offset = head->bytes;
    to->count = from->count;
    head->bytes = (head->bytes + from->count * from->size + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN;
    if (image && from->count) memcpy((char *)image + to->offset, from->data, from->count * from->size);
}

static void lay_out_all(struct plan_shm *head, struct plan_shm *image, const struct program *p)
{
    const struct program_table none = {0};

    head->bytes = (sizeof *head + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN;
#define LAY_OUT(table, type) lay_out(head, image, &head->table, &p->table);
    PLAN_PROGRAM_TABLES(LAY_OUT)
#undef LAY_OUT
#define LAY_OUT(table, type) lay_out(head, NULL, &head->table, &none);
    PLAN_TILE_TABLES(LAY_OUT)
#undef LAY_OUT
}

/* Places of the vectors in the resident area; biases of experts have none. */
static void place_vectors(struct plan_shm *image)
{
    struct plan_vector *v = (struct plan_vector *)(void *)((char *)image + image->vectors.offset);
    uint64_t at = 0;

    for (uint64_t i = 0; i < image->vectors.count; i++) v[i].at = 0;
    for (uint64_t i = 0; i < image->experts.count; i++) {
        const struct plan_experts *x = plan_experts(image) + i;
        uint64_t n = x->biased ? plan_experts_matrices(x) : 0;

        for (uint64_t k = x->bias0; k < x->bias0 + n && k < image->vectors.count; k++) v[k].at = PLAN_STREAMED;
    }
    for (uint64_t i = 0; i < image->vectors.count; i++) {
        if (v[i].at == PLAN_STREAMED) continue;
        v[i].at = at;
        at = (at + v[i].elements + FLOAT_ALIGN - 1) / FLOAT_ALIGN * FLOAT_ALIGN;
    }
    image->spec.resident_floats = at;
}

int program_image(struct plan_shm **out, const struct program *p, struct error *e)
{
    struct plan_shm head = {.magic = PLAN_MAGIC, .version = PLAN_VERSION, .spec = p->spec}, *image = NULL;

    *out = NULL;
    lay_out_all(&head, NULL, p);
    if (!p->failed) image = calloc(1, head.bytes);
    if (!image) return error_set(e, ENOMEM, "no memory for the model's description: free some memory and try again");
    lay_out_all(&head, image, p);
    memcpy(image, &head, sizeof head);
    place_vectors(image);
    *out = image;
    return 0;
}
