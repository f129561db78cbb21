#include "coordinator/serve/forms.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/body.h"

struct forms {
    const struct tokenizer *tokenizer;
    uint32_t vocab;
    pthread_mutex_t lock;
    struct grammar_vocabulary *vocabulary;
};

int forms_open(struct forms **out, const struct tokenizer *t, uint32_t vocab, struct error *e)
{
    struct forms *f = calloc(1, sizeof *f);

    if (!f) return error_set(e, ENOMEM, "out of memory");
    f->tokenizer = t;
    f->vocab = vocab;
    pthread_mutex_init(&f->lock, NULL);
    *out = f;
    return 0;
}

void forms_close(struct forms *f)
{
    if (!f) return;
    grammar_vocabulary_close(f->vocabulary);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

const struct grammar_vocabulary *forms_vocabulary(struct forms *f)
{
    const struct grammar_vocabulary *v;
    struct error e;

    pthread_mutex_lock(&f->lock);
    if (!f->vocabulary && grammar_vocabulary_open(&f->vocabulary, f->tokenizer, f->vocab, &e)) f->vocabulary = NULL;
    v = f->vocabulary;
    pthread_mutex_unlock(&f->lock);
    return v;
}

/* ---- response_format ---- */

/* The schema that is wanted, a new reference; *out NULL: any text. */
static int find_schema(json_t **out, const json_t *body, struct fault *f)
{
    static const char name[] = "response_format";
    static const char *const known[] = {"type", "json_schema", "schema", NULL};
    static const char *const inside[] = {"type", "name", "description", "schema", "strict", NULL};
    json_t *format = body_field(body, name), *o;
    const char *type = json_string_value(body_field(format, "type"));

    *out = NULL;
    if (!format) return 0;
    if (body_part_known(format, name, known, f) || body_part_known(body_field(format, "json_schema"), name, inside, f))
        return -1;
    if (!type) return fault_set(f, 400, name, NULL, "response_format must be an object with a type");
    if (!strcmp(type, "text")) return 0;
    if (!strcmp(type, "json_object")) {
        json_t *schema = body_field(format, "schema");

        *out = schema ? json_incref(schema) : json_pack("{s:s}", "type", "object");
        return *out ? 0 : fault_set(f, 500, NULL, NULL, "out of memory");
    }
    if (strcmp(type, "json_schema"))
        return fault_set(f, 400, name, NULL,
                         "response_format: the type %.40s is not known: text, json_object, json_schema", type);
    o = body_field(format, "json_schema");
    if (!body_field(o, "schema"))
        return fault_set(f, 400, name, NULL, "response_format: json_schema.schema is missing");
    *out = json_incref(body_field(o, "schema"));
    return 0;
}

static int compile(struct grammar **out, const json_t *schema, const char *lead, bool special, struct error *e)
{
    struct grammar_piece piece = {.schema = schema, .name = "response_format"};
    struct grammar_form form = {&piece, 1};
    struct grammar_config c = {.form = &form, .forms = 1, .lead = lead, .lead_special = special};

    return grammar_open(out, &c, e);
}

int forms_try(const struct grammar *g, const struct facts *x, const char *param, struct fault *f)
{
    const struct grammar_vocabulary *v = forms_vocabulary(x->forms);
    struct constraint *tried = NULL;
    struct error e = {0};
    int rc = v ? constraint_open(&tried, g, v, x->eos, x->ends, &e) : error_set(&e, ENOMEM, "out of memory");

    constraint_close(tried);
    return rc ? fault_set(f, rc == -ENOMEM ? 500 : 400, param, NULL, "%.480s", e.text) : 0;
}

int forms_read(struct grammar **out, const struct facts *x, const json_t *body, const char *lead, struct fault *f)
{
    static const char name[] = "response_format";
    int64_t id = lead ? tokenizer_token_id(x->tokenizer, lead) : -1;
    struct grammar *g = NULL;
    struct error e = {0};
    json_t *schema;
    int rc;

    *out = NULL;
    if (find_schema(&schema, body, f)) return -1;
    if (!schema) return 0;
    rc = compile(&g, schema, lead, id >= 0 && tokenizer_is_special(x->tokenizer, (uint32_t)id), &e);
    json_decref(schema);
    if (rc) return fault_set(f, rc == -ENOMEM ? 500 : 400, name, NULL, "%.480s", e.text);
    if (forms_try(g, x, name, f)) {
        grammar_close(g);
        return -1;
    }
    *out = g;
    return 0;
}
