#include "tests/support_recite.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/mkmodel.h"
#include "tests/support_model.h"

enum { HIDDEN = 64, TURNED = HIDDEN - 1, INTER = 16, END = 1, FIRST = 2 };

struct recital {
    const char *word[HIDDEN];
    uint32_t words;
    uint32_t next[2][HIDDEN]; /* before and after the turn; 0: none */
    uint32_t turn;
};

static uint32_t word(struct recital *r, const char *text)
{
    for (uint32_t i = 0; i < r->words; i++)
        if (!strcmp(r->word[i], text)) return i;
    assert_true(r->words < TURNED);
    r->word[r->words] = text;
    return r->words++;
}

static void learn(struct recital *r, const char *const *piece, const char *turn)
{
    int after = 0;

    *r = (struct recital){.word = {"<unk>", "<eos>"}, .words = FIRST};
    for (; *piece; piece++) {
        uint32_t now = word(r, *piece), then = piece[1] ? word(r, piece[1]) : END;

        if (turn && !strcmp(*piece, turn)) {
            after = 1;
            r->turn = now;
        }
        assert_true(!r->next[after][now] || r->next[after][now] == then); /* or it cannot be recited */
        r->next[after][now] = then;
    }
    for (uint32_t i = 0; i < r->words; i++)
        for (int k = 0; k < 2; k++)
            if (!r->next[k][i]) r->next[k][i] = r->next[!k][i] ? r->next[!k][i] : END;
}

static void write_tokenizer(const struct recital *r, const char *folder)
{
    json_t *vocab = json_object(), *added = json_array(), *root;
    char *text;

    for (uint32_t i = 0; i < r->words; i++) {
        json_object_set_new(vocab, r->word[i], json_integer(i));
        json_array_append_new(added, json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", (int)i, "content", r->word[i],
                                               "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special",
                                               i < FIRST || !strncmp(r->word[i], "<|", 2)));
    }
    root =
        json_pack("{s:s,s:n,s:n,s:o,s:n,s:n,s:n,s:{s:s},s:{s:s,s:s,s:b,s:o,s:[]}}", "version", "1.0", "truncation",
                  "padding", "added_tokens", added, "normalizer", "pre_tokenizer", "post_processor", "decoder", "type",
                  "Fuse", "model", "type", "BPE", "unk_token", "<unk>", "fuse_unk", 1, "vocab", vocab, "merges");
    assert_non_null(root);
    text = json_dumps(root, 0);
    scratch_write(folder, "tokenizer.json", text);
    free(text);
    json_decref(root);
}

/* ---- weights ---- */

struct weights {
    json_t *header;
    float *data;
    size_t floats;
};

static float *tensor(struct weights *w, const char *name, uint32_t rows, uint32_t cols)
{
    size_t n = (size_t)rows * (cols ? cols : 1), from = w->floats * sizeof *w->data;
    json_t *shape = cols ? json_pack("[i,i]", (int)rows, (int)cols) : json_pack("[i]", (int)rows);
    float *more = realloc(w->data, from + n * sizeof *w->data + 1);

    assert_non_null(more);
    w->data = more;
    w->floats += n;
    json_object_set_new(w->header, name,
                        json_pack("{s:s,s:o,s:[I,I]}", "dtype", "F32", "shape", shape, "data_offsets", (json_int_t)from,
                                  (json_int_t)(from + n * sizeof *w->data)));
    return memset(more + w->floats - n, 0, n * sizeof *more);
}

static void ones(struct weights *w, const char *name)
{
    float *x = tensor(w, name, HIDDEN, 0);

    for (uint32_t i = 0; i < HIDDEN; i++) x[i] = 1;
}

/* A token's row is 1 in its own column. All scores of attention are 0, so that a position takes the mean of all values:
 * the share of the turn among its tokens, from 1/60 to 1/7, in the last column. */
static void fill(struct weights *w, const struct recital *r)
{
    static const char *const nothing[] = {"self_attn.q_proj", "self_attn.k_proj"};
    char name[96];
    float *x = tensor(w, "model.embed_tokens.weight", r->words, HIDDEN);

    for (uint32_t i = 0; i < r->words; i++) x[i * HIDDEN + i] = 1;
    for (size_t i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "model.layers.0.%s.weight", nothing[i]);
        tensor(w, name, HIDDEN, HIDDEN);
    }
    x = tensor(w, "model.layers.0.self_attn.v_proj.weight", HIDDEN, HIDDEN);
    if (r->turn) x[r->turn] = 0.125F; /* the norm before it makes 8 of 1 */
    tensor(w, "model.layers.0.self_attn.o_proj.weight", HIDDEN, HIDDEN)[TURNED * HIDDEN] = 1;
    tensor(w, "model.layers.0.mlp.gate_proj.weight", INTER, HIDDEN);
    tensor(w, "model.layers.0.mlp.up_proj.weight", INTER, HIDDEN);
    tensor(w, "model.layers.0.mlp.down_proj.weight", HIDDEN, INTER);
    ones(w, "model.layers.0.input_layernorm.weight");
    ones(w, "model.layers.0.post_attention_layernorm.weight");
    ones(w, "model.norm.weight");
    x = tensor(w, "lm_head.weight", r->words, HIDDEN);
    for (uint32_t i = 0; i < r->words; i++) {
        x[r->next[0][i] * HIDDEN + i] = 10;
        if (r->next[1][i] == r->next[0][i]) continue;
        x[r->next[1][i] * HIDDEN + i] = 9;
        x[r->next[1][i] * HIDDEN + TURNED] = 65; /* 1.08 to 9.3 times: more than the 1 between them, less than 10 */
    }
}

static void write_weights(const struct recital *r, const char *folder)
{
    struct weights w = {.header = json_object()};
    struct error e;
    uint64_t n;
    char *text, *file;
    size_t bytes;

    fill(&w, r);
    text = json_dumps(w.header, JSON_COMPACT);
    n = strlen(text);
    bytes = sizeof n + n + w.floats * sizeof *w.data;
    file = malloc(bytes);
    assert_non_null(file);
    memcpy(file, &n, sizeof n);
    memcpy(file + sizeof n, text, n);
    memcpy(file + sizeof n + n, w.data, w.floats * sizeof *w.data);
    assert_int_equal(mkmodel_write_file(folder, "model.safetensors", file, bytes, &e), 0);
    free(file);
    free(text);
    free(w.data);
    json_decref(w.header);
}

char *recite_make(const char *const *piece, const char *turn, const char *template)
{
    char *folder = scratch_make(), config[600];
    struct recital r;

    learn(&r, piece, turn);
    snprintf(config, sizeof config,
             "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":%d,"
             "\"intermediate_size\":%d,\"num_hidden_layers\":1,\"num_attention_heads\":1,\"num_key_value_heads\":1,"
             "\"max_position_embeddings\":60,\"vocab_size\":%u,\"rms_norm_eps\":1e-6,\"tie_word_embeddings\":false,"
             "\"eos_token_id\":%d,\"torch_dtype\":\"float32\"}",
             HIDDEN, INTER, r.words, END);
    scratch_write(folder, "config.json", config);
    if (template) scratch_write(folder, "chat_template.jinja", template);
    write_tokenizer(&r, folder);
    write_weights(&r, folder);
    return folder;
}
