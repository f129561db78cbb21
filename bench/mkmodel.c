/* Makes model folders for measuring: of a list of tensors, or of a published shape with any of its sizes changed.
 *
 *     mkmodel TENSORS.tsv OUT
 *     mkmodel --shape llama|mixtral|qwen3-moe|deepseek-v3|kimi-k2 [--hidden N] [--layers N] ... [--sparse] OUT
 *
 * Dense files hold pseudo random weights, made about as fast as a disk takes them; sparse ones are holes, so that a
 * shape of hundreds of gigabytes costs nothing. Rules of lists: tests/mkmodel.h. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "proto/base/error.h"
#include "tests/mkmodel.h"

/* Sizes in the order of the options that change them; 0: the shape has no such thing. */
struct shape {
    const char *name, *architecture, *model_type;
    uint32_t hidden, layers, vocab, heads, kv_heads, head_dim, inter, experts, top, expert_inter, dense_layers;
    bool fp8, f32;
};

static const struct shape shapes[] = {
    {"llama", "LlamaForCausalLM", "llama", 4096, 32, 32000, 32, 8, 128, 14336, 0, 0, 0, 0, false, false},
    {"mixtral", "MixtralForCausalLM", "mixtral", 4096, 32, 32000, 32, 8, 128, 14336, 8, 2, 14336, 0, false, false},
    {"qwen3-moe", "Qwen3MoeForCausalLM", "qwen3_moe", 2048, 48, 151936, 32, 4, 128, 6144, 128, 8, 768, 0, false, false},
    {"deepseek-v3", "DeepseekV3ForCausalLM", "deepseek_v3", 7168, 61, 129280, 128, 128, 0, 18432, 256, 8, 2048, 3, true,
     false},
    {"kimi-k2", "DeepseekV3ForCausalLM", "kimi_k2", 7168, 61, 163840, 64, 64, 0, 18432, 384, 8, 2048, 1, true, false},
};

#define Q_RANK  1536u
#define KV_RANK 512u
#define NOPE    128u
#define ROTATED 64u
#define VALUE   128u
#define BLOCK   128u

struct maker {
    struct shape s;
    bool sparse;
    uint64_t shard_bytes, in_shard;
    uint32_t shard;
    FILE *list;
};

/* ---- tensors ---- */

static void add(struct maker *m, const char *name, const char *dtype, uint64_t rows, uint64_t cols, const char *rule)
{
    uint64_t bytes = rows * (cols ? cols : 1) * (!strcmp(dtype, "F32") ? 4 : !strcmp(dtype, "BF16") ? 2 : 1);

    if (m->in_shard && m->in_shard + bytes > m->shard_bytes) {
        m->in_shard = 0;
        m->shard++;
    }
    m->in_shard += bytes;
    if (m->shard_bytes == UINT64_MAX)
        fputs("model.safetensors", m->list);
    else
        fprintf(m->list, "model-%05u.safetensors", m->shard + 1);
    fprintf(m->list, "\t%s\t%s\t%llu", name, dtype, (unsigned long long)rows);
    if (cols) fprintf(m->list, "x%llu", (unsigned long long)cols);
    fprintf(m->list, "\t%s\n", rule);
}

static void norm(struct maker *m, const char *base, const char *name, uint64_t n)
{
    char full[256];

    snprintf(full, sizeof full, "%s%s.weight", base, name);
    add(m, full, "BF16", n, 0, "lin 1 0.25");
}

static void plain(struct maker *m, const char *base, const char *name, uint64_t rows, uint64_t cols)
{
    char full[256];

    snprintf(full, sizeof full, "%s%s.weight", base, name);
    add(m, full, m->s.f32 ? "F32" : "BF16", rows, cols, m->sparse ? "sparse" : m->s.f32 ? "lin 0 0.02" : "fast 0.02");
}

/* A matrix of the layers, in the form that the shape's own folders have. */
static void matrix(struct maker *m, const char *base, const char *name, uint64_t rows, uint64_t cols)
{
    char full[256];

    if (!m->s.fp8) {
        plain(m, base, name, rows, cols);
        return;
    }
    snprintf(full, sizeof full, "%s%s.weight", base, name);
    add(m, full, "F8_E4M3", rows, cols, m->sparse ? "sparse" : "e4m3");
    snprintf(full, sizeof full, "%s%s.weight_scale_inv", base, name);
    add(m, full, "F32", (rows + BLOCK - 1) / BLOCK, (cols + BLOCK - 1) / BLOCK,
        m->sparse ? "sparse" : "lin 0.01 0.005");
}

static void gated(struct maker *m, const char *base, const char *const name[3], uint64_t inter)
{
    matrix(m, base, name[0], inter, m->s.hidden);
    matrix(m, base, name[1], inter, m->s.hidden);
    matrix(m, base, name[2], m->s.hidden, inter);
}

static bool latent(const struct maker *m)
{
    return !strcmp(m->s.architecture, "DeepseekV3ForCausalLM");
}

static void attention(struct maker *m, const char *base)
{
    const struct shape *s = &m->s;
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;

    if (latent(m)) {
        matrix(m, base, "self_attn.q_a_proj", Q_RANK, s->hidden);
        norm(m, base, "self_attn.q_a_layernorm", Q_RANK);
        matrix(m, base, "self_attn.q_b_proj", (uint64_t)s->heads * (NOPE + ROTATED), Q_RANK);
        matrix(m, base, "self_attn.kv_a_proj_with_mqa", KV_RANK + ROTATED, s->hidden);
        norm(m, base, "self_attn.kv_a_layernorm", KV_RANK);
        matrix(m, base, "self_attn.kv_b_proj", (uint64_t)s->heads * (NOPE + VALUE), KV_RANK);
        matrix(m, base, "self_attn.o_proj", s->hidden, (uint64_t)s->heads * VALUE);
        return;
    }
    matrix(m, base, "self_attn.q_proj", q, s->hidden);
    matrix(m, base, "self_attn.k_proj", kv, s->hidden);
    matrix(m, base, "self_attn.v_proj", kv, s->hidden);
    matrix(m, base, "self_attn.o_proj", s->hidden, q);
    if (strcmp(s->architecture, "Qwen3MoeForCausalLM")) return;
    norm(m, base, "self_attn.q_norm", s->head_dim);
    norm(m, base, "self_attn.k_norm", s->head_dim);
}

static void experts(struct maker *m, const char *base)
{
    static const char *const llama[3] = {"gate_proj", "up_proj", "down_proj"}, *const mixtral[3] = {"w1", "w3", "w2"};
    bool old = !strcmp(m->s.architecture, "MixtralForCausalLM");
    char full[256];

    plain(m, base, old ? "block_sparse_moe.gate" : "mlp.gate", m->s.experts, m->s.hidden);
    for (uint32_t e = 0; e < m->s.experts; e++) {
        snprintf(full, sizeof full, "%s%s.experts.%u.", base, old ? "block_sparse_moe" : "mlp", e);
        gated(m, full, old ? mixtral : llama, m->s.expert_inter);
    }
    if (!latent(m)) return;
    snprintf(full, sizeof full, "%smlp.gate.e_score_correction_bias", base);
    add(m, full, "F32", m->s.experts, 0, "lin 0 0.01");
    snprintf(full, sizeof full, "%smlp.shared_experts.", base);
    gated(m, full, llama, m->s.expert_inter);
}

static void list_tensors(struct maker *m)
{
    static const char *const dense[3] = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};
    char base[64];

    /* Larger than what the layers of noise add: else attention's average over the context, much the same from one token to
     * the next, drowns the token, and tokens choose the experts that their predecessors chose. */
    add(m, "model.embed_tokens.weight", "BF16", m->s.vocab, m->s.hidden, m->sparse ? "sparse" : "fast 4");
    for (uint32_t i = 0; i < m->s.layers; i++) {
        snprintf(base, sizeof base, "model.layers.%u.", i);
        norm(m, base, "input_layernorm", m->s.hidden);
        attention(m, base);
        norm(m, base, "post_attention_layernorm", m->s.hidden);
        if (m->s.experts && i >= m->s.dense_layers)
            experts(m, base);
        else
            gated(m, base, dense, m->s.inter);
    }
    norm(m, "model.", "norm", m->s.hidden);
    plain(m, "", "lm_head", m->s.vocab, m->s.hidden);
}

/* ---- config ---- */

static int write_config(const struct maker *m, const char *out, struct error *e)
{
    const struct shape *s = &m->s;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    int rc;

    if (!f) return error_set(e, ENOMEM, "no memory");
    fprintf(
        f,
        "{\"architectures\":[\"%s\"],\"model_type\":\"%s\",\"hidden_size\":%u,\"num_hidden_layers\":%u,\"vocab_size\":%"
        "u,"
        "\"num_attention_heads\":%u,\"num_key_value_heads\":%u,\"intermediate_size\":%u,\"hidden_act\":\"silu\","
        "\"rms_norm_eps\":1e-6,\"rope_theta\":10000.0,\"max_position_embeddings\":32768,\"tie_word_embeddings\":false,"
        "\"torch_dtype\":\"bfloat16\",\"bos_token_id\":1,\"eos_token_id\":2",
        s->architecture, s->model_type, s->hidden, s->layers, s->vocab, s->heads, s->kv_heads,
        s->experts && !latent(m) && !strcmp(s->architecture, "MixtralForCausalLM") ? s->expert_inter : s->inter);
    if (s->head_dim) fprintf(f, ",\"head_dim\":%u", s->head_dim);
    if (s->experts)
        fprintf(f, ",\"num_%s\":%u,\"num_experts_per_tok\":%u,\"moe_intermediate_size\":%u,\"norm_topk_prob\":true",
                !strcmp(s->architecture, "MixtralForCausalLM") ? "local_experts" : "experts", s->experts, s->top,
                s->expert_inter);
    if (latent(m))
        fprintf(
            f,
            ",\"n_shared_experts\":1,\"n_group\":%u,\"topk_group\":%u,\"routed_scaling_factor\":2.5,\"first_k_dense_"
            "replace\":%u,"
            "\"q_lora_rank\":%u,\"kv_lora_rank\":%u,\"qk_nope_head_dim\":%u,\"qk_rope_head_dim\":%u,\"v_head_dim\":%u",
            s->experts % 8               ? 1
            : strcmp(s->name, "kimi-k2") ? 8
                                         : 1,
            s->experts % 8               ? 1
            : strcmp(s->name, "kimi-k2") ? 4
                                         : 1,
            s->dense_layers, Q_RANK, KV_RANK, NOPE, ROTATED, VALUE);
    if (s->fp8)
        fprintf(f,
                ",\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"activation_scheme\":\"dynamic\","
                "\"weight_block_size\":[%u,%u]}",
                BLOCK, BLOCK);
    fputs("}\n", f);
    fclose(f);
    rc = mkmodel_write_file(out, "config.json", text, n, e);
    free(text);
    return rc;
}

/* ---- options ---- */

enum { OPT_SHAPE = 256, OPT_SPARSE, OPT_SHARD, OPT_FP8, OPT_BF16, OPT_F32, OPT_SIZE };
static const struct option options[] = {
    {"shape", 1, 0, OPT_SHAPE},
    {"sparse", 0, 0, OPT_SPARSE},
    {"shard-gib", 1, 0, OPT_SHARD},
    {"fp8", 0, 0, OPT_FP8},
    {"bf16", 0, 0, OPT_BF16},
    {"f32", 0, 0, OPT_F32},
    {"hidden", 1, 0, OPT_SIZE},
    {"layers", 1, 0, OPT_SIZE + 1},
    {"vocab", 1, 0, OPT_SIZE + 2},
    {"heads", 1, 0, OPT_SIZE + 3},
    {"kv-heads", 1, 0, OPT_SIZE + 4},
    {"head-dim", 1, 0, OPT_SIZE + 5},
    {"inter", 1, 0, OPT_SIZE + 6},
    {"experts", 1, 0, OPT_SIZE + 7},
    {"top", 1, 0, OPT_SIZE + 8},
    {"expert-inter", 1, 0, OPT_SIZE + 9},
    {"dense-layers", 1, 0, OPT_SIZE + 10},
    {0, 0, 0, 0},
};

static int usage(const char *me)
{
    fprintf(stderr,
            "usage: %s TENSORS.tsv OUT\n"
            "       %s --shape llama|mixtral|qwen3-moe|deepseek-v3|kimi-k2 [--hidden N] [--layers N] [--vocab N] "
            "[--heads N]\n"
            "           [--kv-heads N] [--head-dim N] [--inter N] [--experts N] [--top N] [--expert-inter N]\n"
            "           [--dense-layers N] [--fp8|--bf16|--f32] [--shard-gib N] [--sparse] OUT\n",
            me, me);
    return 2;
}

static bool set_shape(struct maker *m, const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(shapes[i].name, name)) continue;
        m->s = shapes[i];
        return true;
    }
    return false;
}

static bool set_size(struct shape *s, int which, const char *text)
{
    uint32_t *const sizes[] = {&s->hidden, &s->layers,  &s->vocab, &s->heads,        &s->kv_heads,    &s->head_dim,
                               &s->inter,  &s->experts, &s->top,   &s->expert_inter, &s->dense_layers};
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*end || end == text || n > 1u << 28) return false;
    *sizes[which] = (uint32_t)n;
    return true;
}

static bool set_option(struct maker *m, int opt)
{
    switch (opt) {
    case OPT_SHAPE: return set_shape(m, optarg);
    case OPT_SPARSE: return m->sparse = true;
    case OPT_SHARD: return (m->shard_bytes = strtoull(optarg, NULL, 10) << 30) > 0;
    case OPT_FP8: return m->s.fp8 = true;
    case OPT_BF16: return !(m->s.fp8 = false);
    case OPT_F32: return m->s.f32 = true;
    default: return opt >= OPT_SIZE && set_size(&m->s, opt - OPT_SIZE, optarg);
    }
}

static int make_shape(struct maker *m, const char *out, struct error *e)
{
    char *text = NULL;
    size_t n = 0;
    int rc = write_config(m, out, e);

    if (rc) return rc;
    m->list = open_memstream(&text, &n);
    if (!m->list) return error_set(e, ENOMEM, "no memory");
    list_tensors(m);
    fclose(m->list);
    rc = mkmodel_from_text(text, out, e);
    free(text);
    return rc;
}

int main(int argc, char **argv)
{
    struct maker m = {.shard_bytes = UINT64_MAX};
    struct error e = {0};
    const char *out;
    int opt, rc;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!set_option(&m, opt)) return usage(argv[0]);
    if (argc - optind != (m.s.name ? 1 : 2)) return usage(argv[0]);
    out = argv[argc - 1];
    if (mkdir(out, 0777) && errno != EEXIST) {
        fprintf(stderr, "%s: %s\n", out, error_name(errno));
        return 1;
    }
    rc = m.s.name ? make_shape(&m, out, &e) : mkmodel_from_list(argv[optind], out, &e);
    if (rc) fprintf(stderr, "%s\n", e.text);
    return rc ? 1 : 0;
}
