#include "tests/support_vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "tests/support_model.h"

void gguf_write_numbers(struct gguf_writer *w, const char *key, uint32_t type, const void *x, size_t n)
{
    gguf_write_key(w, key, ARRAY);
    gguf_put_number(&w->values, type, 4);
    gguf_put_number(&w->values, n, 8);
    gguf_put(&w->values, x, n * (type == U8 ? 1 : 4));
}

void vocabulary_add(struct vocabulary *v, const char *text, int32_t type, float score)
{
    v->text[v->n] = text;
    v->type[v->n] = type;
    v->score[v->n++] = score;
}

void vocabulary_write(struct gguf_writer *w, const struct vocabulary *v, const char *model)
{
    gguf_write_string(w, "tokenizer.ggml.model", model);
    gguf_write_strings(w, "tokenizer.ggml.tokens", v->text, v->n);
    gguf_write_numbers(w, "tokenizer.ggml.scores", F32, v->score, v->n);
    gguf_write_numbers(w, "tokenizer.ggml.token_type", I32, v->type, v->n);
}

struct gguf *gguf_open_written(struct gguf_writer *w)
{
    char *folder = scratch_make();
    struct error e = {0};
    struct gguf *g;

    gguf_write_file(w, folder, "a.gguf");
    if (gguf_open(&g, scratch_path(folder, "a.gguf"), &e)) fail_msg("%s", e.text);
    scratch_remove(folder);
    return g;
}
