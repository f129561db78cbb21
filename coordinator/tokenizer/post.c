#include "coordinator/tokenizer/post.h"

#include "coordinator/tokenizer/json.h"
#include "coordinator/tokenizer/map.h"

#include <errno.h>

#define MAX_DEPTH 16

static int push_id(struct token_ids *ids, const json_t *id, struct error *e)
{
    json_int_t v = json_integer_value(id);
    if (!json_is_integer(id) || v < 0 || v >= VOCAB_ID_LIMIT)
        return error_set(e, EINVAL, "the id of a special token is no token id");
    return token_ids_push(ids, (uint32_t)v) != 0 ? error_set(e, ENOMEM, "no memory for the post-processor") : 0;
}

/* Puts `more` before ids. */
static int put_before(struct token_ids *ids, struct token_ids *more, struct error *e)
{
    for (size_t i = 0; i < ids->count; i++) {
        if (token_ids_push(more, ids->id[i]) != 0) return error_set(e, ENOMEM, "no memory for the post-processor");
    }
    struct token_ids keep = *ids;
    *ids = *more;
    *more = keep;
    return 0;
}

static int template_special(const json_t *o, const json_t *piece, struct token_ids *to, struct error *e)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *ids = json_object_get(json_object_get(json_object_get(o, "special_tokens"), name ? name : ""), "ids"),
                 *id;
    if (!json_is_array(ids))
        return error_set(e, EINVAL, "the template uses \"%s\", which its special_tokens do not list", name ? name : "");
    size_t i;
    json_array_foreach(ids, i, id)
    {
        int rc = push_id(to, id, e);
        if (rc != 0) return rc;
    }
    return 0;
}

static int read_template(struct postprocessor *p, const json_t *o, struct error *e)
{
    const json_t *single = json_object_get(o, "single"), *piece;
    struct token_ids before = {0};
    bool text = false;
    size_t i;
    int rc = json_is_array(single) ? 0 : error_set(e, EINVAL, "the template has no list \"single\"");
    json_array_foreach(single, i, piece)
    {
        const json_t *special = json_object_get(piece, "SpecialToken"), *sequence = json_object_get(piece, "Sequence");
        const char *name = json_string_value(json_object_get(sequence, "id"));
        if (rc != 0) break;
        if (special)
            rc = template_special(o, special, text ? &p->suffix : &before, e);
        else if (sequence && !text && name && !strcmp(name, "A"))
            text = true;
        else
            rc = error_set(e, ENOTSUP, "the template for one text has more than that text and special tokens");
    }
    if (rc == 0 && !text) rc = error_set(e, ENOTSUP, "the template for one text leaves the text out");
    if (rc == 0) rc = put_before(&p->prefix, &before, e);
    token_ids_free(&before);
    return rc;
}

/* BertProcessing and RobertaProcessing: "cls" and "sep" are [content, id]. */
static int read_pair(struct postprocessor *p, const json_t *o, struct error *e)
{
    struct token_ids before = {0};
    int rc = push_id(&before, json_array_get(json_object_get(o, "cls"), 1), e);
    rc = rc != 0 ? rc : put_before(&p->prefix, &before, e);
    rc = rc != 0 ? rc : push_id(&p->suffix, json_array_get(json_object_get(o, "sep"), 1), e);
    token_ids_free(&before);
    return rc;
}

static int read_any(struct postprocessor *p, const json_t *o, int depth, struct error *e)
{
    if (!o || json_is_null(o)) return 0;
    const char *type = json_type_name(o);
    if (!strcmp(type, "ByteLevel")) /* it only moves offsets */
        return 0;
    if (!strcmp(type, "TemplateProcessing")) return read_template(p, o, e);
    if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing")) return read_pair(p, o, e);
    if (strcmp(type, "Sequence")) return error_set(e, ENOTSUP, "the post-processor \"%s\" is not known", type);
    const json_t *list = json_object_get(o, "processors"), *part;
    if (!json_is_array(list) || depth == MAX_DEPTH)
        return error_set(e, EINVAL, "a sequence of post-processors without its \"processors\", or nested too deeply");
    size_t i;
    json_array_foreach(list, i, part)
    {
        int rc = read_any(p, part, depth + 1, e);
        if (rc != 0) return rc;
    }
    return 0;
}

int postprocessor_read(struct postprocessor *p, const json_t *o, struct error *e)
{
    return read_any(p, o, 0, e);
}

void postprocessor_free(struct postprocessor *p)
{
    token_ids_free(&p->prefix);
    token_ids_free(&p->suffix);
}
