#include "coordinator/plan/stored.h"

#include <stdlib.h>

/* Stored bytes per second of one thread from its cache on, as bench/kernel_bench.c measures them with AVX-512; 0: the memory
 * is the limit. Runs measure the machine's own (calibrate.h): these are for the first plan. */
static const double kernel_speed[FORMS] = {
    [FORM_F8_E4M3] = 14e9, [FORM_MXFP4] = 8e9,     [FORM_Q4_0] = 9e9,    [FORM_Q4_1] = 9e9,        [FORM_Q5_0] = 7.5e9,
    [FORM_Q5_1] = 8e9,     [FORM_Q8_0] = 18e9,     [FORM_IQ4_NL] = 9e9,  [FORM_MXFP4_BLOCK] = 8e9, [FORM_NVFP4] = 7e9,
    [FORM_Q2_K] = 4.5e9,   [FORM_Q3_K] = 5e9,      [FORM_Q4_K] = 8e9,    [FORM_Q5_K] = 7e9,        [FORM_Q6_K] = 10e9,
    [FORM_IQ4_XS] = 9e9,   [FORM_IQ1_S] = 2.4e9,   [FORM_IQ1_M] = 1.9e9, [FORM_IQ2_XXS] = 2.6e9,   [FORM_IQ2_XS] = 3e9,
    [FORM_IQ2_S] = 3.4e9,  [FORM_IQ3_XXS] = 3.2e9, [FORM_IQ3_S] = 3e9,   [FORM_TQ1_0] = 1.8e9,     [FORM_TQ2_0] = 4e9,
};

static int most_first(const void *a, const void *b)
{
    const struct plan_stored *x = a, *y = b;

    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : (x->form > y->form) - (x->form < y->form);
}

uint32_t plan_stored(const struct plan_shm *p, struct plan_stored out[FORMS])
{
    uint64_t bytes[FORMS] = {0};
    uint32_t n = 0;

    for (uint64_t i = 0; i < p->matrices.count; i++) {
        const struct plan_matrix *m = &plan_matrices(p)[i];

        if (m->unit_rows)
            bytes[FORM_B223] += plan_units(p)[m->unit0 + plan_matrix_units(m)] - plan_units(p)[m->unit0];
        else if (m->form < FORMS)
            bytes[m->form] += m->rows * m->row_bytes; /* plan_check() knows that they lie in a file */
    }
    for (uint32_t form = 0; form < FORMS; form++)
        if (bytes[form]) out[n++] = (struct plan_stored){form, bytes[form]};
    qsort(out, n, sizeof *out, most_first);
    return n;
}

double plan_stored_speed(const struct plan_shm *p, uint32_t threads, double memory)
{
    struct plan_stored x[FORMS];
    double bytes = 0, seconds = 0;

    for (uint32_t i = 0, n = p ? plan_stored(p, x) : 0; i < n; i++) {
        const double kernels = kernel_speed[x[i].form] * threads,
                     speed = kernels > 0 && kernels < memory ? kernels : memory;

        bytes += (double)x[i].bytes;
        seconds += (double)x[i].bytes / speed;
    }
    return seconds > 0 ? bytes / seconds : memory;
}
