/* Experts as GGUF files have them, all of a layer and kind in one tensor, out of the program: it knows them however they lie
 * in the folder. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/arch/gguf_make.h"

#define NAME_BYTES 64

enum kind { GATE, UP, DOWN };
static const char *const kinds[] = {[GATE] = "ffn_gate_exps", [UP] = "ffn_up_exps", [DOWN] = "ffn_down_exps"};

static const char both[] = "ffn_gate_up_exps";

static uint64_t key_of(uint32_t file, uint64_t offset)
{
    return (uint64_t)file << 48 | offset;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The tensors' file of each of the program's. */
static uint32_t *find_files(const struct gguf_making *k)
{
    uint32_t *file = calloc(k->p->files.count + 1, sizeof *file);

    for (uint64_t i = 0; file && i < k->p->files.count; i++)
        for (uint32_t n = 0; n < k->t->file_count; n++)
            if (!strcmp(k->t->files[n].path, plan_string(k->p, plan_files(k->p)[i].name))) file[i] = n;
    return file;
}

struct experts {
    const struct plan_experts *x;
    const uint32_t *file; /* find_files() */
    uint64_t layer;
};

static const struct plan_matrix *matrix_of(const struct gguf_making *k, const struct experts *s, uint32_t expert,
                                           enum kind kind)
{
    uint32_t n = plan_expert_matrices(s->x), i = s->x->fused ? kind == DOWN : (uint32_t)kind;

    return &plan_matrices(k->p)[s->x->matrix0 + expert * n + i];
}

static uint64_t element_bytes(uint32_t form)
{
    return form == FORM_F32 ? 4 : 2;
}

/* Is it one of two kinds in a matrix? */
static bool is_half(const struct plan_experts *x, enum kind kind)
{
    return x->fused && x->fused != EXPERTS_UNGATED && kind != DOWN;
}

/* Rows of one expert's matrix of a kind. */
static struct gguf_part part_of(const struct experts *s, const struct plan_matrix *m, enum kind kind)
{
    const struct plan_experts *x = s->x;
    bool half = is_half(x, kind);
    uint64_t rows = kind == DOWN ? x->hidden : x->inter, cols = kind == DOWN ? x->inter : x->hidden;
    uint64_t stored = x->transposed ? m->cols : cols, first = 0; /* elements from one stored row to the next */
    struct gguf_part p = {.file = s->file[m->file], .offset = m->file_off, .rows = rows};

    p.row_step = x->transposed ? 1 : stored;
    p.col_step = x->transposed ? stored : 1;
    if (half && kind == UP) first = (x->interleaved ? 1 : x->inter) * p.row_step;
    if (half && x->interleaved) p.row_step *= 2;
    if (m->form == FORM_MXFP4) {
        p.scale_file = s->file[m->scale_file];
        p.scale_offset = m->scale_off + first / 32;
        p.offset += first / 2;
    } else {
        p.offset += first * element_bytes(m->form);
    }
    return p;
}

/* Does the family have gate and up in one stack, gate's rows first? */
static bool stacks_both(const struct gguf_making *k)
{
    for (const struct gguf_name *x = k->f->names; x && x->stored; x++)
        if (!strcmp(x->stored, both)) return true;
    return false;
}

/* kind GATE: up too, where the family has them in one stack. */
static int add_kind(struct gguf_making *k, const struct experts *s, enum kind kind)
{
    const struct plan_experts *x = s->x;
    const struct plan_matrix *m = matrix_of(k, s, 0, kind);
    bool two = kind == GATE && stacks_both(k);
    uint64_t dims[3] = {kind == DOWN ? x->inter : x->hidden, kind == DOWN ? x->hidden : (two + 1) * x->inter,
                        x->experts};
    uint32_t form = m->form;
    char name[NAME_BYTES];

    if (form != FORM_F32 && form != FORM_F16 && form != FORM_BF16 && form != FORM_MXFP4)
        return error_set(
            k->e, ENOTSUP,
            "%s: its experts are stored as %s: only F32, F16 and BF16 become another form here, what has few "
            "bits already would lose more of them: take the folder in BF16",
            k->t->folder, form_name(form));
    snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)s->layer, two ? both : kinds[kind]);
    if (!gguf_making_add(k, name, dims, 3, form)) return -k->e->code;
    for (uint32_t e = 0; e < x->experts; e++) {
        m = matrix_of(k, s, e, kind);
        if (m->form != form)
            return error_set(k->e, ENOTSUP, "%s: experts of layer %llu are stored in several forms", k->t->folder,
                             (unsigned long long)s->layer);
        if (!gguf_making_part(k, part_of(s, m, kind))) break;
        if (two && !gguf_making_part(k, part_of(s, matrix_of(k, s, e, UP), UP))) break;
    }
    return -k->e->code;
}

static int add_biases(struct gguf_making *k, const struct experts *s, enum kind kind)
{
    const struct plan_experts *x = s->x;
    uint32_t n = plan_expert_matrices(x), i = x->fused ? kind == DOWN : (uint32_t)kind;
    const struct plan_vector *v = &plan_vectors(k->p)[x->bias0 + i];
    uint64_t dims[2] = {kind == DOWN ? x->hidden : x->inter, x->experts};
    bool half = is_half(x, kind);
    char name[NAME_BYTES];

    snprintf(name, sizeof name, "blk.%llu.%s.bias", (unsigned long long)s->layer, kinds[kind]);
    if (!gguf_making_add(k, name, dims, 2, v->form)) return -k->e->code;
    for (uint32_t e = 0; e < x->experts; e++) {
        struct gguf_part p = {.rows = 1, .row_step = dims[0], .col_step = half && x->interleaved ? 2 : 1};

        v = &plan_vectors(k->p)[x->bias0 + e * n + i];
        p.file = s->file[v->file];
        p.offset = v->file_off;
        if (half && kind == UP) p.offset += (x->interleaved ? 1 : x->inter) * element_bytes(v->form);
        if (!gguf_making_part(k, p)) break;
    }
    return -k->e->code;
}

/* Where all that belongs to experts lies. */
static void note_places(struct gguf_making *k, const struct experts *s)
{
    const struct plan_experts *x = s->x;

    for (uint64_t i = 0; i < plan_experts_matrices(x); i++) {
        const struct plan_matrix *m = &plan_matrices(k->p)[x->matrix0 + i];
        const struct plan_vector *v = x->biased ? &plan_vectors(k->p)[x->bias0 + i] : NULL;

        k->expert[k->experts++] = key_of(s->file[m->file], m->file_off);
        if (m->scale_file != PLAN_NONE) k->expert[k->experts++] = key_of(s->file[m->scale_file], m->scale_off);
        if (v) k->expert[k->experts++] = key_of(s->file[v->file], v->file_off);
    }
}

static int add_table(struct gguf_making *k, const struct experts *s)
{
    int rc = 0;

    note_places(k, s);
    for (enum kind kind = s->x->fused == EXPERTS_UNGATED ? UP : GATE; kind <= DOWN && !rc; kind++) {
        if (kind == UP && stacks_both(k)) continue;
        rc = add_kind(k, s, kind);
        if (!rc && s->x->biased) rc = add_biases(k, s, kind);
    }
    return rc;
}

int gguf_make_experts(struct gguf_making *k)
{
    uint32_t *file = find_files(k);
    uint64_t all = 0;
    int rc = file ? 0 : gguf_making_memory(k);

    for (uint64_t i = 0; i < k->p->experts.count; i++) all += 3 * plan_experts_matrices(&plan_experts(k->p)[i]);
    k->expert = calloc(all + 1, sizeof *k->expert);
    if (!k->expert && !rc) rc = gguf_making_memory(k);
    for (uint64_t i = 0; i < k->p->ops.count && !rc; i++) {
        const struct plan_op *op = &plan_ops(k->p)[i];
        struct experts s = {.file = file, .layer = op->layer};

        if (op->kind != OP_EXPERTS) continue;
        s.x = &plan_experts(k->p)[op->experts.table];
        rc = add_table(k, &s);
    }
    if (k->experts) qsort(k->expert, k->experts, sizeof *k->expert, by_number);
    free(file);
    return rc;
}

bool gguf_is_of_experts(const struct gguf_making *k, const struct tensor *t)
{
    uint64_t from = key_of(t->file, t->offset), to = key_of(t->file, t->offset + t->bytes);
    size_t a = 0, b = k->experts;

    while (a < b) {
        size_t mid = (a + b) / 2;

        if (k->expert[mid] < from)
            a = mid + 1;
        else
            b = mid;
    }
    return a < k->experts && k->expert[a] < to;
}
