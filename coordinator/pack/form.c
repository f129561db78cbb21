#include "coordinator/pack/form.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "coordinator/source/gguf_types.h"

static const struct pack_form_info forms[PACK_FORMS] = {
    [PACK_AS_Q8] = {"q8", "Q8_0", 7, BLOCK_Q8_0, 0.0014},    [PACK_AS_Q6] = {"q6", "Q6_K", 18, BLOCK_Q6_K, 0.0055},
    [PACK_AS_Q5] = {"q5", "Q5_K_M", 17, BLOCK_Q5_K, 0.0108}, [PACK_AS_Q4] = {"q4", "Q4_K_M", 15, BLOCK_Q4_K, 0.0313},
    [PACK_AS_BF16] = {"bf16", "BF16", 32, BLOCK_BF16, 0},    [PACK_AS_F16] = {"f16", "F16", 1, BLOCK_F16, 0},
    [PACK_AS_F32] = {"f32", "F32", 0, BLOCK_F32, 0},
};

const struct pack_form_info *pack_form_info(enum pack_form form)
{
    return &forms[form];
}

/* ---- which tensors are matrices of products ---- */

static bool ends(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && !strcmp(s + n - k, end);
}

static bool has(const char *s, const char *part)
{
    return strstr(s, part) != NULL;
}

/* Small ones stay float32, as converters write them. */
static bool is_matrix(const struct gguf_made_tensor *t)
{
    static const char *const small[] = {"_norm.weight",         "ffn_gate_inp",   "altup",          "laurel",
                                        "per_layer_model_proj", "ssm_conv1d",     "shortconv.conv", "attn_rel_b",
                                        "indexer.k_proj",       "indexer.q_proj", "rope_f"};

    if (t->n_dims < 2 || !ends(t->name, "weight")) return false;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        if (has(t->name, small[i])) return false;
    return true;
}

/* ---- llama-quantize's choice ---- */

enum kind { EMBEDDING, OUTPUT, VALUE, FUSED, KEY, ATTENTION_OUTPUT, DOWN, OTHER };

static enum kind kind_of(const char *name)
{
    if (!strcmp(name, "output.weight")) return OUTPUT;
    if (!strcmp(name, "token_embd.weight") || !strcmp(name, "per_layer_token_embd.weight")) return EMBEDDING;
    if (has(name, "attn_qkv.weight")) return FUSED;
    if (has(name, "attn_kv_b.weight") || has(name, "attn_v.weight")) return VALUE;
    if (has(name, "attn_k.weight")) return KEY;
    if (has(name, "attn_output.weight")) return ATTENTION_OUTPUT;
    return has(name, "ffn_down") ? DOWN : OTHER;
}

struct choosing {
    const struct gguf_made *x;
    enum pack_form form;
    uint32_t values, value, down; /* tensors like attn_v: of all, and met so far; ffn_down met so far */
    bool tied;
};

/* The first eighth of n, the last one, and every third between. */
static bool deserves_more(uint32_t i, uint32_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static uint32_t type_of_value(struct choosing *c, uint32_t type)
{
    bool mixed = c->form == PACK_AS_Q4 || c->form == PACK_AS_Q5;
    bool large = !strcmp(c->x->architecture, "llama") && c->x->layers == 80 && c->x->heads != c->x->kv_heads;

    if (mixed && deserves_more(c->value, c->values)) type = BLOCK_Q6_K;
    if (large && type == BLOCK_Q4_K) type = BLOCK_Q5_K; /* eight heads share them in a model of 70 billion */
    if (c->x->experts == 8) type = BLOCK_Q8_0;
    c->value++;
    return type;
}

static uint32_t type_of_down(struct choosing *c, const char *name, uint32_t type)
{
    uint32_t layer = c->down;
    unsigned named;

    if (c->x->experts > 1 && sscanf(name, "blk.%9u.", &named) == 1) layer = named;
    if ((c->form == PACK_AS_Q4 || c->form == PACK_AS_Q5) && deserves_more(layer, c->x->layers)) type = BLOCK_Q6_K;
    c->down++;
    return type;
}

static uint32_t type_of(struct choosing *c, const struct gguf_made_tensor *t)
{
    uint32_t type = forms[c->form].type;
    enum kind kind = kind_of(t->name);

    if (kind == OUTPUT || (c->tied && kind == EMBEDDING)) {
        if (t->dims[0] % gguf_type(type)->elements) return BLOCK_Q8_0;
        return type == BLOCK_Q8_0 ? type : BLOCK_Q6_K;
    }
    if (kind == FUSED || kind == VALUE) {
        type = type_of_value(c, type);
        return type;
    }
    if (kind == KEY && c->x->experts == 8) return BLOCK_Q8_0;
    if (kind == DOWN) return type_of_down(c, t->name, type);
    if (kind == ATTENTION_OUTPUT && c->x->experts == 8 && c->form == PACK_AS_Q4) return BLOCK_Q5_K;
    return type;
}

/* Where rows are no whole blocks. */
static uint32_t fit_columns(uint32_t type, uint64_t columns)
{
    if (columns % gguf_type(type)->elements == 0) return type;
    if (type == BLOCK_Q4_K) type = BLOCK_Q5_0;
    if (type == BLOCK_Q5_K) type = BLOCK_Q5_1;
    if (type == BLOCK_Q6_K) type = BLOCK_Q8_0;
    return columns % gguf_type(type)->elements == 0 ? type : BLOCK_F16;
}

static bool is_plain(uint32_t form)
{
    return form == FORM_F32 || form == FORM_F16 || form == FORM_BF16;
}

/* Blocks of a file, which are not taken apart. */
static int keep(uint32_t *type, const struct gguf_made *x, const struct gguf_made_tensor *t, uint32_t wanted,
                enum pack_form form, struct error *e)
{
    const char *path = x->tensors->files[x->part[t->part0].file].path;

    *type = t->form == FORM_MXFP4 ? BLOCK_MXFP4 : t->type;
    if (t->form == FORM_MXFP4 || t->form == FORM_MXFP4_BLOCK || t->form == FORM_NVFP4 || *type == wanted) return 0;
    return error_set(e, ENOTSUP,
                     "%s: tensor %s is %s already: made %s of it, it would lose more and gain nothing: start from the "
                     "model in BF16, F16 or F32",
                     path, t->name, gguf_type_name(t->type), forms[form].label);
}

int pack_form_types(uint32_t *type, const struct gguf_made *x, enum pack_form form, struct error *e)
{
    struct choosing c = {.x = x, .form = form, .tied = true};
    bool plain = form == PACK_AS_F32 || form == PACK_AS_F16 || form == PACK_AS_BF16;
    size_t made = 0;
    int rc = 0;

    for (size_t i = 0; i < x->count; i++) {
        enum kind kind = kind_of(x->at[i].name);

        c.values += kind == VALUE || kind == FUSED;
        if (kind == OUTPUT) c.tied = false;
    }
    for (size_t i = 0; i < x->count && !rc; i++) {
        const struct gguf_made_tensor *t = &x->at[i];
        bool matrix = is_matrix(t);

        type[i] = !matrix ? BLOCK_F32 : plain ? forms[form].type : fit_columns(type_of(&c, t), t->dims[0]);
        if (!t->parts) continue;
        if (!is_plain(t->form))
            rc = keep(&type[i], x, t, type[i], form, e);
        else
            made += matrix && !(x->tensors->gguf && t->type == type[i]);
    }
    if (!rc && !made)
        return error_set(e, ENOTSUP,
                         "%s: none of its matrices would become %s: they are that already, or in fewer bits",
                         x->tensors->folder, forms[form].label);
    return rc;
}
