#include "tests/support_instance.h"

int support_start(struct instance **out, const struct options *o, const struct instance_load *l, struct error *e)
{
    struct instance_config c = {.options = o, .prompt_tokens = l->prompt_tokens};
    int rc = instance_load(out, &c, e);

    if (rc) return rc;
    rc = instance_start(*out, l, e);
    if (rc) {
        instance_close(*out);
        *out = NULL;
    }
    return rc;
}

static int on_token(void *arg, uint32_t token, struct error *e)
{
    uint32_t **at = arg;

    (void)e;
    *(*at)++ = token;
    return 0;
}

int support_tokens(struct instance *i, const uint32_t *prompt, size_t prompts, uint32_t *token, size_t n,
                   struct error *e)
{
    struct generate_config c = {.sampling = instance_sampling(i), .max_tokens = n, .token = on_token, .arg = &token};
    struct generate_result r;
    struct sequence *q = NULL;
    int rc = scheduler_sequence(instance_scheduler(i), &q, instance_context(i), e);

    if (!rc) rc = sequence_append(q, prompt, prompts, e);
    if (!rc) rc = generate(i, q, &c, &r, e);
    if (!rc && r.tokens != n) rc = error_set(e, 1, "%llu tokens of %zu", (unsigned long long)r.tokens, n);
    sequence_close(q);
    return rc;
}
