/* A GGUF file whose metadata are a tokenizer's, templates and defaults: opened, and a text encoded and decoded with it. */
#include "coordinator/source/gguf_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/text.h"
#include "tests/support_gguf.h"

enum { I32 = 5, F32 = 6, ARRAY = 9, TOKENS = 16 };

static void look(const struct gguf *g)
{
    static const char text[] =
        "Hello  w\xC3\xB6rld, 1234 it's <s>\xE2\x96\x81x\n\n\t\xF0\x9F\xA6\x8A aaaaaaaa ab abab <|im_end|>";
    struct model_generation x;
    struct tokenizer *t;
    struct template *p;
    struct error e = {0};

    if (!gguf_tokenizer(&t, g, NULL, &e)) {
        fuzz_text_of(t, text, sizeof text - 1);
        tokenizer_close(t);
    } else if (strlen(e.text) < 10) {
        fuzz_fail("an error without a message");
    }
    e = (struct error){0};
    if (!gguf_template(&p, g, NULL, &e))
        template_close(p);
    else if (strlen(e.text) < 10)
        fuzz_fail("an error without a message");
    e = (struct error){0};
    if (gguf_generation(&x, g, &e) && strlen(e.text) < 10) fuzz_fail("an error without a message");
    generation_free(&x);
}

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"model.gguf", NULL};
    static struct fuzz_folder folder;
    static char path[TEMPORARY_BYTES + 32];
    struct error e = {0};
    struct gguf *g;

    if (!folder.files) {
        fuzz_folder_make(&folder, names);
        snprintf(path, sizeof path, "%s/%s", folder.path, names[0]);
    }
    fuzz_folder_fill(&folder, 0, data, bytes, 0);
    if (gguf_open(&g, path, &e)) return;
    look(g);
    gguf_close(g);
}

static void write_numbers(struct gguf_writer *w, const char *key, uint32_t type, const void *x, size_t n)
{
    gguf_write_key(w, key, ARRAY);
    gguf_put_number(&w->values, type, 4);
    gguf_put_number(&w->values, n, 8);
    gguf_put(&w->values, x, n * 4);
}

static void seed(fuzz_emit *emit, void *arg, const char *model, const char *pre)
{
    static const char *const tokens[TOKENS] = {"<unk>", "<s>",  "</s>",       "a",  "b", "ab",     "\xE2\x96\x81", "aa",
                                               "\n",    "\n\n", "<|im_end|>", "  ", "1", "<0x0A>", "[PAD14]",      "w"};
    static const int32_t types[TOKENS] = {2, 3, 3, 1, 1, 1, 1, 1, 1, 4, 3, 4, 1, 6, 5, 1};
    static const float scores[TOKENS] = {0, 0, 0, -9, -9, -1, -9, -2, -9, -1000, -1000, -1000, -9, 0, -1000, -9};
    static const char *const merges[] = {"a b", "a a", "\n \n"}, *const names[] = {"rag"};
    struct gguf_writer w;
    uint8_t *file;
    size_t bytes;

    gguf_write_begin(&w);
    gguf_write_string(&w, "general.architecture", "llama");
    gguf_write_string(&w, "tokenizer.ggml.model", model);
    if (pre) gguf_write_string(&w, "tokenizer.ggml.pre", pre);
    gguf_write_strings(&w, "tokenizer.ggml.tokens", tokens, TOKENS);
    write_numbers(&w, "tokenizer.ggml.token_type", I32, types, TOKENS);
    if (strcmp(model, "gpt2")) write_numbers(&w, "tokenizer.ggml.scores", F32, scores, TOKENS);
    if (*model == 'g') gguf_write_strings(&w, "tokenizer.ggml.merges", merges, 3);
    gguf_write_u32(&w, "tokenizer.ggml.bos_token_id", 1);
    gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", 2);
    gguf_write_u32(&w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_write_bool(&w, "tokenizer.ggml.add_bos_token", 1);
    gguf_write_bool(&w, "tokenizer.ggml.add_space_prefix", 1);
    gguf_write_bool(&w, "tokenizer.ggml.remove_extra_whitespaces", 1);
    gguf_write_string(&w, "tokenizer.chat_template", "{{bos_token}}{% for m in messages %}{{m.content}}{% endfor %}");
    gguf_write_string(&w, "tokenizer.chat_template.rag", "{{eos_token}}");
    gguf_write_strings(&w, "tokenizer.chat_templates", names, 1);
    gguf_write_f32(&w, "general.sampling.temp", 0.5);
    gguf_write_u32(&w, "general.sampling.top_k", 20);
    file = gguf_write_end(&w, &bytes);
    emit(arg, file, bytes);
    free(file);
}

static void seed_json(fuzz_emit *emit, void *arg)
{
    struct gguf_writer w;
    uint8_t *file;
    size_t bytes;

    gguf_write_begin(&w);
    gguf_write_string(
        &w, "tokenizer.huggingface.json",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]},\"added_tokens\":[]}");
    file = gguf_write_end(&w, &bytes);
    emit(arg, file, bytes);
    free(file);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    seed(emit, arg, "gpt2", "llama-bpe");
    seed(emit, arg, "gpt2", "falcon");
    seed(emit, arg, "llama", NULL);
    seed(emit, arg, "gemma4", NULL);
    seed(emit, arg, "t5", NULL);
    seed_json(emit, arg);
}

const struct fuzz_target fuzz_gguf_text = {"gguf_text", run, seeds, -1};
