#include "coordinator/plan/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void table_init(struct program_table *t, size_t size)
{
    *t = (struct program_table){.size = size};
}

/* Room for n more records, zeroed; NULL when there is no memory. */
static void *table_add(struct program *p, struct program_table *t, size_t n)
{
    if (t->count + n > t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 16;
        void *data;

        while (capacity < t->count + n) capacity *= 2;
        data = reallocarray(t->data, capacity, t->size);
        if (!data) {
            p->failed = true;
            return NULL;
        }
        t->data = data;
        t->capacity = capacity;
    }
    void *at = (char *)t->data + t->count * t->size;
    memset(at, 0, n * t->size);
    t->count += n;
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
    table_init(&p->files, sizeof(struct plan_file));
    table_init(&p->matrices, sizeof(struct plan_matrix));
    table_init(&p->vectors, sizeof(struct plan_vector));
    table_init(&p->buffers, sizeof(uint32_t));
    table_init(&p->ops, sizeof(struct plan_op));
    table_init(&p->experts, sizeof(struct plan_experts));
    table_init(&p->ropes, sizeof(struct plan_rope));
    table_init(&p->caches, sizeof(struct plan_cache));
    table_init(&p->states, sizeof(struct plan_state));
    table_init(&p->constants, sizeof(float));
    table_init(&p->strings, 1);
}

void program_free(struct program *p)
{
    struct program_table *all[] = {&p->files, &p->matrices, &p->vectors, &p->buffers,   &p->ops,    &p->experts,
                                   &p->ropes, &p->caches,   &p->states,  &p->constants, &p->strings};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]->data);
        all[i]->data = NULL;
        all[i]->count = all[i]->capacity = 0;
    }
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
        if (q->dim == dim && q->scale == scale &&
            !memcmp(PROGRAM_AT(p, constants, float, q->inv_freq), inv_freq, dim / 2 * sizeof *inv_freq))
            return (uint32_t)i;
    }
    r.inv_freq = add_constants(p, inv_freq, dim / 2);
    return table_put(p, &p->ropes, &r);
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

int program_done(const struct program *p, struct error *e)
{
    if (p->failed) return error_set(e, ENOMEM, "no memory for the model's description: free some memory and try again");
    return 0;
}
