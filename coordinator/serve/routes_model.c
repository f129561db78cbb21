/* What is served. */
#include <string.h>

#include "coordinator/serve/out.h"
#include "coordinator/serve/room.h"
#include "coordinator/serve/routes.h"

static void write_model(struct buffer *b, const struct facts *x, const char *name)
{
    struct model *m = instance_model(x->instance);

    buffer_append_text(b, "{\"id\":");
    out_string(b, name, strlen(name));
    out_format(b,
               ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"sluice\",\"max_model_len\":%u,"
               "\"meta\":{\"n_ctx\":%u,\"n_vocab\":%u,\"n_ctx_train\":%u,\"n_params\":%llu,\"size\":%llu}}",
               (long long)x->created, x->context, x->context, x->vocab, model_positions(m),
               (unsigned long long)model_parameters(m), (unsigned long long)model_weight_bytes(m));
}

static void write_list(struct buffer *b, const struct facts *x)
{
    buffer_append_text(b, "{\"object\":\"list\",\"data\":[");
    write_model(b, x, x->name);
    for (size_t i = 0; i < x->aliases; i++) {
        buffer_append_byte(b, ',');
        write_model(b, x, x->alias[i]);
    }
    buffer_append_text(b, "]}");
}

void routes_models(struct routes *r, struct exchange *x)
{
    static const char prefix[] = "/v1/models/";
    const char *path = exchange_path(x);
    bool one = !strncmp(path, prefix, sizeof prefix - 1);
    const char *name = one ? path + sizeof prefix - 1 : NULL;
    struct buffer b = {0};
    struct fault f;

    if (one && !facts_serves(r->facts, name)) {
        fault_set(&f, 404, "model", "model_not_found", "there is no model \"%.200s\" here: \"%s\" is served", name,
                  r->facts->name);
        http_fault(x, &f);
        return;
    }
    if (one)
        write_model(&b, r->facts, name);
    else
        write_list(&b, r->facts);
    routes_json(x, &b);
}

void routes_props(struct routes *r, struct exchange *x)
{
    const struct facts *f = r->facts;
    const struct sampler_settings *s = &f->sampling;
    struct buffer b = {0};

    buffer_append_text(&b, "{\"model\":");
    out_string(&b, f->name, strlen(f->name));
    buffer_append_text(&b, ",\"model_path\":");
    out_string(&b, instance_options(f->instance)->model, strlen(instance_options(f->instance)->model));
    out_format(&b, ",\"build_info\":\"sluice-" SLUICE_VERSION "\",\"total_slots\":%u,\"chat_template\":%s", f->parallel,
               f->template ? "true" : "false");
    out_format(&b,
               ",\"default_generation_settings\":{\"n_ctx\":%u,\"max_tokens\":%u,\"temperature\":%.9g,\"top_k\":%d,"
               "\"top_p\":%.9g,\"min_p\":%.9g,\"repeat_penalty\":%.9g},\"match_answers\":%s,"
               "\"connections\":%u,\"request_bytes\":%zu,\"request_bytes_used\":%zu}",
               f->context, f->max_tokens, s->temperature, s->top_k, s->top_p, s->min_p, s->repeat_penalty,
               f->answers ? "true" : "false", r->connections, room_most(f->room), room_used(f->room));
    routes_json(x, &b);
}
