/* config.json of a folder whose weights are not there: through its family to the program, and through the planner to a plan
 * that passes plan_check(). The first byte is a set of bits: the budget, the context, the backend. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/arch/model.h"
#include "coordinator/plan/plan.h"
#include "coordinator/plan/calibrate.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support_walk.h"

static void plan_it(struct model *m, uint8_t bits)
{
    static const struct calibration speeds = {
        .disk = 2e9, .memory = 2e10, .link = 1e10, .device_memory = 1e12, .flops = 1e12};
    struct plan_settings s = {.host_memory = UINT64_C(1) << (bits & 1 ? 40 : 32),
                              .host_memory_given = bits & 2,
                              .shm_free = UINT64_MAX,
                              .threads = 2};
    struct plan_summary summary;
    struct plan_shm *p = NULL;
    struct error e = {0};
    uint64_t bytes;

    if (bits & 4) {
        s.backend = BACKEND_CUDA;
        s.device_memory = UINT64_C(1) << (bits & 1 ? 40 : 33);
    }
    if (bits & 8) s.want_tokens = 100;
    if (bits & 16) s.context = 77;
    if (plan_build(&p, &bytes, model_program(m), &s, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("the planner's error has no message");
        return;
    }
    if (plan_check(p, bytes, &e)) fuzz_fail(e.text);
    plan_walk(p);
    plan_summarize(&summary, p, &speeds);
    free(p);
}

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"config.json", NULL};
    static struct fuzz_folder folder;
    struct model_options o = {.allow_missing_weights = true};
    struct model *m;
    struct error e = {0};

    if (!bytes) return;
    if (!folder.files) fuzz_folder_make(&folder, names);
    fuzz_folder_fill(&folder, 0, data + 1, bytes - 1, 0);
    if (*data & 8) o.want_tokens = 100;
    if (*data & 16) o.context = 77;
    if (model_open(&m, folder.path, &o, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
        return;
    }
    /* Thousands of experts or layers are planned as dozens are, only slower: once in sixteen. */
    if (model_program(m)->matrices.count < 2000 || bytes % 16 == 0) plan_it(m, *data);
    model_close(m);
}

static void seed_config(void *arg, const char *path)
{
    struct fuzz_sink *s = arg;

    fuzz_seed_file(s, path);
    s->head[0] = (char)(64 + (s->head[0] + 1) % 32);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    /* Families without a reference model. */
    static const char *const others[] = {
        "{\"architectures\":[\"InternLM2ForCausalLM\"],\"vocab_size\":97,\"hidden_size\":32,\"intermediate_size\":48,"
        "\"num_hidden_layers\":2,"
        "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,\"max_position_embeddings\":64,"
        "\"hidden_act\":\"silu\",\"bias\":false}",
        "{\"architectures\":[\"BaichuanForCausalLM\"],\"vocab_size\":97,\"hidden_size\":40,\"intermediate_size\":48,"
        "\"num_hidden_layers\":2,"
        "\"num_attention_heads\":4,\"rms_norm_eps\":1e-6,\"model_max_length\":64,\"hidden_act\":\"silu\"}",
        "{\"architectures\":[\"QWenLMHeadModel\"],\"vocab_size\":97,\"hidden_size\":32,\"intermediate_size\":96,\"num_"
        "hidden_layers\":2,"
        "\"num_attention_heads\":4,\"kv_channels\":8,\"layer_norm_epsilon\":1e-6,\"seq_length\":64,\"rotary_emb_base\":"
        "10000,\"no_bias\":true}",
        "{\"architectures\":[\"ChatGLMModel\"],\"padded_vocab_size\":97,\"hidden_size\":32,\"ffn_hidden_size\":48,"
        "\"num_layers\":2,"
        "\"num_attention_heads\":4,\"multi_query_attention\":true,\"multi_query_group_num\":2,\"kv_channels\":8,"
        "\"layernorm_epsilon\":1e-5,"
        "\"seq_length\":64,\"add_qkv_bias\":true,\"rmsnorm\":true}",
        "{\"architectures\":[\"MiniCPMForCausalLM\"],\"vocab_size\":97,\"hidden_size\":32,\"intermediate_size\":48,"
        "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"scale_emb\":12,\"scale_depth\":1.4,"
        "\"dim_model_base\":16,\"sparse_config\":{\"dense_len\":48}}",
    };
    struct fuzz_sink s = {emit, arg, {64}, 1};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++) fuzz_seed(&s, others[i], strlen(others[i]));
    fuzz_glob("tests/data/models/*/config.json", seed_config, &s);
    fuzz_glob("tests/data/demo-model/config.json", seed_config, &s);
}

const struct fuzz_target fuzz_config = {"config", run, seeds, 1};
