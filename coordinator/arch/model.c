#include "coordinator/arch/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/arch/build.h"
#include "coordinator/arch/defaults.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/packed.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/source/generation.h"
#include "proto/base/file.h"

#define HEADER_BYTES_EACH 256u /* of a tensor, at most */

struct model {
    struct program building; /* until it is an image */
    struct plan_shm *program;
    struct config *config;
    struct tensors *tensors;
    struct model_generation generation;
    uint64_t weight_bytes, parameters;
    uint32_t positions; /* the longest context that may be asked for */
    struct gguf_notice left_out;
    char notice[512];
};

static int init_build(struct build *b, struct model *m, const struct model_options *o, struct error *e)
{
    *b = (struct build){.p = &m->building, .c = m->config, .t = m->tensors, .o = o, .e = e};
    for (int i = 0; i < BUFS; i++) b->buf[i] = PLAN_NOBUF;
    b->file_of = calloc(m->tensors->file_count + 1, sizeof *b->file_of);
    if (!b->file_of) return error_set(e, ENOMEM, "%s: no memory for its description", m->config->path);
    for (uint32_t i = 0; i < m->tensors->file_count; i++) b->file_of[i] = PLAN_NONE;
    build_names(b, "model.", "layers", "embed_tokens");
    b->quant = quant_read(m->config, m->tensors, e);
    return -e->code;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Positions that a sequence may have. YaRN's factor speaks of the trained length, and whoever adds it may leave
 * max_position_embeddings alone (Qwen). */
static void choose_context(struct build *b, struct model *m)
{
    uint32_t limit = larger(b->limit, b->rope.stretched);

    m->positions = larger(limit, b->rope.stretchable);
    /* longrope's short factors serve the trained length only */
    if (b->rope.trained && b->rope.trained < limit) limit = b->rope.trained;
    if (b->o->context > m->positions)
        config_fault(b->c, b->e, "max_position_embeddings",
                     "the model takes %u positions, and a context of %u was asked for: --context %u would do",
                     m->positions, b->o->context, m->positions);
    m->building.spec.context = b->o->context ? b->o->context : limit;
}

static void fill_spec(struct build *b, struct model *m)
{
    struct plan_spec *s = &m->building.spec;

    s->layers = b->layers;
    s->hidden = b->hidden;
    s->vocab = b->vocab;
    snprintf(s->architecture, sizeof s->architecture, "%s", b->family);
    choose_context(b, m);
    m->weight_bytes = b->weight_bytes;
    m->parameters = b->parameters;
    snprintf(m->notice, sizeof m->notice, "%s", b->notice);
}

/* An assumed file's size is known once the family has named all that is in it. */
static void settle_files(const struct build *b, struct model *m)
{
    for (uint32_t i = 0; i < m->tensors->file_count; i++)
        if (b->file_of[i] != PLAN_NONE)
            PROGRAM_AT(&m->building, files, struct plan_file, b->file_of[i])->bytes = m->tensors->files[i].info.bytes;
}

/* Does what was assumed come to what the index or the pointers say? A thousandth is left to scales and buffers of other types,
 * and to each tensor its line in a file's header. */
static void compare_with_index(struct build *b, const struct tensors *t)
{
    bool every;
    uint64_t bytes = tensors_assumed_bytes(t, &every), most = bytes > t->stated_bytes ? bytes : t->stated_bytes;
    uint64_t off = bytes > t->stated_bytes ? bytes - t->stated_bytes : t->stated_bytes - bytes;

    if (!t->stated_bytes || !t->assumed || (!every && bytes < t->stated_bytes) ||
        off <= most / 1000 + HEADER_BYTES_EACH * t->count)
        return;
    build_notice(b,
                 "%s %.3f GB of weights, the shapes and types that config.json gives come to %.3f GB: the plan may be "
                 "off by as much",
                 t->source == TENSORS_INDEX ? "the index says" : "git LFS pointers say", (double)t->stated_bytes / 1e9,
                 (double)bytes / 1e9);
}

/* Buffers and scales of activations, which no family multiplies with. */
static bool means_nothing(const char *name)
{
    static const char *const ends[] = {"inv_freq",     ".attn.bias",    ".attention.bias",   ".masked_bias",
                                       ".input_scale", ".output_scale", ".activation_scale", ".input_global_scale",
                                       ".k_scale",     ".v_scale",      ".q_scale",          ".prob_output_scale"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (tensors_name_ends(name, ends[i])) return true;
    return false;
}

/* Whether it belongs to a layer that runs: "model.layers.7.self_attn.q_proj.bias". */
static bool is_of_a_layer(const struct build *b, const char *name)
{
    char start[sizeof b->prefix + sizeof b->layers_name + 2], *end;
    int n = snprintf(start, sizeof start, "%s%s.", b->prefix, b->layers_name);

    return !strncmp(name, start, (size_t)n) && strtoul(name + n, &end, 10) < b->layers && *end == '.';
}

/* Layers behind those that write, which predict a token more each (MTP): the config counts them, or they say so. And scales of
 * activations. */
static void leave_out_predictors(struct build *b, struct tensors *t)
{
    char start[sizeof b->prefix + sizeof b->layers_name + 2], *end;
    size_t n = (size_t)snprintf(start, sizeof start, "%s%s.", b->prefix, b->layers_name);
    uint32_t more = config_size_or(b->c, "num_nextn_predict_layers", 0, 10000, 0, b->e);

    for (size_t i = 0; i < t->count; i++) {
        struct tensor *x = &t->at[i];
        unsigned long layer = strncmp(x->name, start, n) ? 0 : strtoul(x->name + n, &end, 10);

        if (x->used) continue;
        if (!strncmp(x->name, "mtp.", 4) || strstr(x->name, ".mtp.") || means_nothing(x->name)) x->left_out = true;
        if (layer >= b->layers && layer - b->layers < more) x->left_out = true;
    }
}

/* A layer's tensor that this family does not multiply with (a bias of which the config does not speak) is ignored, as the
 * reference does, but not in silence. */
static void look_for_unused(struct build *b, const struct tensors *t)
{
    const char *first = NULL;
    size_t count = 0;

    for (size_t i = 0; i < t->count; i++) {
        const struct tensor *x = &t->at[i];
        if (x->used || x->left_out || means_nothing(x->name) || !is_of_a_layer(b, x->name)) continue;
        if (!first) first = x->name;
        count++;
    }
    if (!first) return;
    build_notice(b,
                 count == 1 ? "%.150s is in the folder, and %s does not use it"
                            : "%.150s and others of its layers are in the folder, and %s does not use them",
                 first, b->family);
}

/* Of a tensor in two files that the index places in neither, the last counts, as in the reference; not in silence. */
static void look_for_disputed(struct build *b, const struct tensors *t)
{
    for (size_t i = 0; i < t->copy_count; i++) {
        const struct tensor *x = &t->at[t->copies[i].tensor];

        if (!t->copies[i].disputed || !x->used) continue;
        build_notice(b, "%.80s is in %.40s and in %.40s, and the index names neither: the latter's counts", x->name,
                     t->files[t->copies[i].file].name, t->files[x->file].name);
        return;
    }
}

/* What makes embeddings would write nonsense, and so would layers of which each has a shape of its own (Llama-Nemotron). */
static void refuse_other_kinds(struct build *b)
{
    const json_t *both = config_field(b->c, "use_bidirectional_attention", false);

    if (!config_bool_or(b->c, "is_causal", true, b->e))
        config_fault(b->c, b->e, "is_causal", "false: its tokens see those that follow, so it cannot write text");
    if (json_is_true(both) || (json_is_string(both) && !strcmp(json_string_value(both), "all")))
        config_fault(b->c, b->e, "use_bidirectional_attention",
                     "its tokens see those that follow, so it cannot write text");
    if (config_field(b->c, "block_configs", false))
        config_fault(b->c, b->e, "block_configs", "layers that each have sizes of their own are not supported");
}

/* sentence-transformers lists a folder's parts: one with a pooling makes embeddings, whatever its architecture writes. */
static bool makes_embeddings(const char *folder)
{
    char path[4096], *text;
    uint64_t bytes;
    bool pools;

    if (snprintf(path, sizeof path, "%s/modules.json", folder) >= (int)sizeof path) return false;
    if (file_load(&text, &bytes, path, 1 << 20, NULL)) return false;
    pools = strstr(text, ".Pooling\"") != NULL;
    free(text);
    return pools;
}

/* A fault stays in *e, which what follows looks at. */
static void know_class(struct model *m, const struct family *f, struct error *e)
{
    const char *type = family_class(f, m->config);
    bool known = false;

    m->config->defaults = type ? defaults_of(type, &known) : NULL;
    if (known && !m->config->defaults) error_set(e, ENOMEM, "%s: no memory to read it", m->config->path);
}

static int write_program(struct model *m, const struct model_options *o, struct error *e)
{
    struct family_notice says = {0};
    const struct family *f = family_find(m->config, &says, e);
    struct build b = {0};
    int rc = f ? init_build(&b, m, o, e) : -e->code;

    if (rc) {
        free(b.file_of);
        return rc;
    }
    b.family = f->architecture;
    know_class(m, f, e);
    if (says.text[0]) build_notice(&b, "%s", says.text);
    if (b.quant.kv_scales)
        build_notice(&b, "the folder gives scales of a narrower KV cache: they are not used, see --kv-type");
    if (m->left_out.text[0]) build_notice(&b, "%s", m->left_out.text);
    b.embeds = makes_embeddings(m->tensors->folder);
    if (b.embeds)
        build_notice(&b, "modules.json says that this model makes embeddings: what it writes may be nonsense");
    refuse_other_kinds(&b);
    f->write(&b);
    if (build_ok(&b)) leave_out_predictors(&b, m->tensors);
    if (build_ok(&b)) look_for_disputed(&b, m->tensors);
    if (build_ok(&b)) look_for_unused(&b, m->tensors);
    if (build_ok(&b)) {
        settle_files(&b, m);
        packed_place(&m->building, m->tensors, b.file_of, &b.weight_bytes, e);
        tensors_forget_fronts(m->tensors); /* a unit has 12 bytes there: of a large model, more than all else here */
    }
    if (build_ok(&b)) {
        compare_with_index(&b, m->tensors);
        fill_spec(&b, m);
    }
    free(b.file_of);
    if (e->code) return -e->code;
    rc = program_image(&m->program, &m->building, e);
    program_free(&m->building);
    /* with tensors that are missing or too short, their places in the files are not true */
    if (!rc && !b.faults_told) rc = program_check(m->program, m->program->bytes, e);
    return rc;
}

/* Mistral's own code has names of its own; its folders often hold the same weights in both. */
static int refuse_native_names(const struct tensors *t, struct error *e)
{
    const struct tensor *x = tensors_find(t, "layers.0.attention.wq.weight");

    if (!x || !tensors_find(t, "tok_embeddings.weight")) return 0;
    return error_set(
        e, ENOTSUP,
        "%s: its tensors have the names of Mistral's own code, which are not supported: download the folder's "
        "model*.safetensors and " TENSORS_INDEX_NAME,
        tensors_path(t, x));
}

static int open_tensors(struct model *m, const struct source *s, const struct model_options *o, struct error *e)
{
    struct tensors_options to = {
        .allow_missing = o->allow_missing_weights, .file_fault = o->file_fault, .arg = o->fault_arg};
    const struct gguf *g = source_gguf(s);
    int rc;

    if (g) return gguf_map_tensors(&m->tensors, g, m->config, &to, &m->left_out, e);
    rc = source_tensors(s, &to, &m->tensors, e);
    if (!rc) rc = refuse_native_names(m->tensors, e);
    if (rc) return rc;
    return quant_unnamed(m->config, m->tensors, e);
}

int model_open_source(struct model **out, const struct source *s, const struct model_options *o, struct error *e)
{
    static const struct model_options plain = {0};
    struct model *m = calloc(1, sizeof *m);
    struct family_notice says;
    struct error unread;
    int rc;

    *out = NULL;
    if (!o) o = &plain;
    if (!e) e = &unread;
    e->code = 0;
    if (!m) return error_set(e, ENOMEM, "%s: no memory to open it", source_path(s));
    program_init(&m->building);
    rc = source_gguf(s) ? gguf_config(&m->config, source_gguf(s), e) : source_config(s, &m->config, e);
    if (!rc)
        rc = family_find(m->config, &says, e) ? 0 : -e->code; /* before the weights: they may be large, and elsewhere */
    if (!rc) rc = open_tensors(m, s, o, e);
    if (!rc) rc = write_program(m, o, e);
    if (!rc) rc = source_generation(s, m->config, &m->generation, e);
    if (rc) {
        model_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

int model_open(struct model **out, const char *path, const struct model_options *o, struct error *e)
{
    struct source *s;
    int rc = source_open(&s, path, e);

    *out = NULL;
    if (rc) return rc;
    rc = model_open_source(out, s, o, e);
    source_close(s);
    return rc;
}

void model_close(struct model *m)
{
    if (!m) return;
    generation_free(&m->generation);
    program_free(&m->building);
    free(m->program);
    tensors_close(m->tensors);
    config_close(m->config);
    free(m);
}

const struct plan_shm *model_program(const struct model *m)
{
    return m->program;
}

uint64_t model_weight_bytes(const struct model *m)
{
    return m->weight_bytes;
}

uint64_t model_parameters(const struct model *m)
{
    return m->parameters;
}

uint32_t model_positions(const struct model *m)
{
    return m->positions;
}

const char *model_longer_context(const struct model *m, uint64_t tokens, char *out, size_t bytes)
{
    if (tokens <= m->positions)
        snprintf(out, bytes, "shorten it, or give --context %llu; the model takes up to %u", (unsigned long long)tokens,
                 m->positions);
    else
        snprintf(out, bytes, "shorten it: the model takes %u at most", m->positions);
    return out;
}

const char *model_notice(const struct model *m)
{
    return m->notice[0] ? m->notice : NULL;
}

const char *model_weights_from(const struct model *m)
{
    return tensors_source_name(m->tensors->source);
}

bool model_weights_missing(const struct model *m)
{
    return m->tensors->source != TENSORS_FILES;
}

bool model_uses(const struct model *m, const char *tensor)
{
    const struct tensor *t = tensors_find(m->tensors, tensor);

    if (t) return t->used;
    for (size_t i = 0; i < m->tensors->count && m->tensors->gguf; i++) {
        t = &m->tensors->at[i];
        if (t->used && t->stored && !strcmp(t->stored, tensor)) return true;
    }
    return false;
}

bool model_leaves_out(const struct model *m, const char *tensor)
{
    const struct tensor *t = tensors_find(m->tensors, tensor);

    return t && t->left_out;
}

const struct model_generation *model_generation(const struct model *m)
{
    return &m->generation;
}

const struct config *model_config(const struct model *m)
{
    return m->config;
}

const struct tensors *model_tensors(const struct model *m)
{
    return m->tensors;
}
