#include "coordinator/batch/logits.h"

struct reader {
    int (*row)(void *arg, const float *logits, struct error *e);
    void *arg;
};

static int on_logits(void *arg, uint32_t position, const float *logits, struct error *e)
{
    struct reader *r = arg;

    (void)position;
    return r->row(r->arg, logits, e);
}

int logits_at(struct instance *i, const uint32_t *token, size_t tokens, const uint32_t *position, size_t n,
              int (*row)(void *arg, const float *logits, struct error *e), void *arg, struct error *e)
{
    struct reader r = {row, arg};
    struct sequence_want want = {
        .positions = position, .position_count = n, .listener = {.logits = on_logits, .arg = &r}};
    struct sequence *q = NULL;
    int rc = scheduler_sequence(instance_scheduler(i), &q, instance_context(i), e);

    if (!rc) rc = sequence_append(q, token, tokens, e);
    if (!rc) {
        sequence_ask(q, &want);
        rc = scheduler_join(instance_scheduler(i), q, e);
    }
    if (!rc) rc = scheduler_run(instance_scheduler(i), e);
    scheduler_leave(instance_scheduler(i), q);
    sequence_close(q);
    return rc;
}
