#include "coordinator/plan/plan.h"

/* Weights that a position meets in the experts of a table. */
static double expert_weights(const struct plan_experts *x)
{
    double share = (double)x->experts / ((double)x->experts + x->identity);

    return (x->fused == EXPERTS_UNGATED ? 2.0 : 3.0) * share * x->max_used * (double)x->hidden * x->inter;
}

double plan_flops(const struct plan_shm *p, double positions, double logits)
{
    double sum = 0, n = positions;

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];
        const struct plan_matrix *m = plan_matrices(p);

        if (op->kind == OP_SELECT) n = logits;
        if (op->kind == OP_MATMUL) sum += n * (double)plan_matrix_elements(&m[op->matmul.matrix]);
        /* each of latent attention's two products has some rows of each head */
        if (op->kind == OP_HEADMM)
            sum += n * (double)op->headmm.heads * op->headmm.rows * (double)m[op->headmm.matrix].cols;
        if (op->kind == OP_EXPERTS) sum += n * expert_weights(&plan_experts(p)[op->experts.table]);
    }
    return 2 * sum;
}
