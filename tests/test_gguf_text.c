/* What a GGUF file says about answers: chat templates, the tokens that end one, sampling. */
#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "coordinator/batch/ends.h"
#include "coordinator/source/gguf_text.h"
#include "coordinator/source/source.h"
#include "proto/base/log.h"
#include "tests/support_model.h"
#include "tests/support_vocabulary.h"

static void write_small(struct gguf_writer *w)
{
    struct vocabulary v = {0};

    vocabulary_add(&v, "<unk>", UNKNOWN, 0);
    vocabulary_add(&v, "<s>", CONTROL, 0);
    vocabulary_add(&v, "</s>", CONTROL, 0);
    gguf_write_begin(w);
    vocabulary_write(w, &v, "llama");
}

/* ---- templates ---- */

static char *render(struct template *t)
{
    json_t *vars = json_of("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    struct error e = {0};
    size_t bytes;
    char *text;

    if (template_render(t, vars, NULL, &text, &bytes, &e)) fail_msg("%s", e.text);
    json_decref(vars);
    return text;
}

static void expect_template(const struct gguf *g, const char *name, const char *wanted)
{
    struct template *t;
    struct error e = {0};
    char *text;

    if (gguf_template(&t, g, name, &e)) fail_msg("%s", e.text);
    text = render(t);
    assert_string_equal(text, wanted);
    free(text);
    template_close(t);
}

static void templates_have_names(void **state)
{
    static const char *const names[] = {"tool_use", "rag"};
    struct gguf_writer w;
    struct template *t;
    struct error e = {0};
    struct gguf *g;

    (void)state;
    write_small(&w);
    gguf_write_u32(&w, "tokenizer.ggml.bos_token_id", 1);
    gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", 2);
    gguf_write_string(&w, "tokenizer.chat_template", "{{bos_token}}{{messages[0].content}}{{eos_token}}");
    gguf_write_string(&w, "tokenizer.chat_template.rag", "rag {{messages[0].content}}");
    gguf_write_strings(&w, "tokenizer.chat_templates", names, 2);
    g = gguf_open_written(&w);
    expect_template(g, NULL, "<s>hi</s>");
    expect_template(g, "rag", "rag hi");
    assert_int_equal(gguf_template(&t, g, "other", &e), -ENOENT);
    assert_non_null(strstr(e.text, "a.gguf has no chat template \"other\"; it has: default, rag"));
    gguf_close(g);
    write_small(&w);
    g = gguf_open_written(&w);
    e = (struct error){0};
    assert_int_equal(gguf_template(&t, g, NULL, &e), -ENOENT);
    assert_non_null(strstr(e.text, "a.gguf has no chat template (no tokenizer.chat_template)"));
    gguf_close(g);
}

/* ---- ends and sampling ---- */

static void expect_ends(const struct gguf *g, const uint32_t *id, const uint8_t *from, size_t n)
{
    struct model_generation x;
    struct error e = {0};

    if (gguf_generation(&x, g, &e)) fail_msg("%s", e.text);
    assert_int_equal(x.eos_count, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(x.eos[i], id[i]);
        assert_int_equal(x.eos_from[i], from[i]);
    }
    generation_free(&x);
}

static void answers_end_with_all_of_them(void **state)
{
    struct gguf_writer w;
    struct vocabulary v = {0};
    struct gguf *g;

    (void)state;
    vocabulary_add(&v, "a", NORMAL, 0);
    vocabulary_add(&v, "<|endoftext|>", CONTROL, 0);
    vocabulary_add(&v, "<|im_end|>", CONTROL, 0);
    vocabulary_add(&v, "</s>", NORMAL, 0);
    vocabulary_add(&v, "end", NORMAL, 0);
    gguf_write_begin(&w);
    vocabulary_write(&w, &v, "gpt2");
    gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", 1);
    gguf_write_u32(&w, "tokenizer.ggml.eot_token_id", 4);
    gguf_write_u32(&w, "tokenizer.ggml.eom_token_id", 1);
    g = gguf_open_written(&w);
    expect_ends(g, (const uint32_t[]){1, 4, 2},
                (const uint8_t[]){GENERATION_EOS_KEY | GENERATION_EOM_KEY | GENERATION_END_TEXT, GENERATION_EOT_KEY,
                                  GENERATION_END_TEXT},
                3);
    gguf_close(g);
    v.n = 1; /* gpt-oss: its <|end|> ends a part of an answer */
    vocabulary_add(&v, "<|return|>", CONTROL, 0);
    vocabulary_add(&v, "<|call|>", CONTROL, 0);
    vocabulary_add(&v, "<|end|>", CONTROL, 0);
    vocabulary_add(&v, "</s>", CONTROL, 0);
    gguf_write_begin(&w);
    vocabulary_write(&w, &v, "gpt2");
    g = gguf_open_written(&w);
    expect_ends(g, (const uint32_t[]){1, 2, 4},
                (const uint8_t[]){GENERATION_END_TEXT, GENERATION_END_TEXT, GENERATION_END_TEXT}, 3);
    gguf_close(g);
}

static void keep_line(void *arg, const char *line, size_t bytes)
{
    snprintf(arg, 512, "%.*s", (int)bytes, line);
}

/* -v says which tokens end an answer, and why. */
static void ends_are_told(void **state)
{
    struct model_generation x;
    struct ends found;
    struct error e = {0};
    char line[512] = "";

    (void)state;
    generation_begin(&x);
    assert_int_equal(generation_add_end(&x, 7, GENERATION_EOS_KEY, &e), 0);
    assert_int_equal(generation_add_end(&x, 9, GENERATION_END_TEXT, &e), 0);
    assert_int_equal(generation_add_end(&x, 7, GENERATION_END_TEXT, &e), 0);
    log_setup("test", LOG_INFO);
    log_divert(keep_line, line);
    assert_int_equal(ends_find(&found, &x, NULL, 10, &e), 0);
    log_divert(NULL, NULL);
    log_setup("test", LOG_WARN);
    assert_int_equal(found.count, 2);
    assert_non_null(strstr(line, "an answer ends with 7 (tokenizer.ggml.eos_token_id, by its text), 9 (by its text)"));
    ends_free(&found);
    generation_free(&x);
}

static void sampling_is_the_makers(void **state)
{
    struct gguf_writer w;
    struct model_generation x;
    struct error e = {0};
    struct gguf *g;

    (void)state;
    gguf_write_begin(&w);
    gguf_write_f32(&w, "general.sampling.temp", 0.5);
    gguf_write_u32(&w, "general.sampling.top_k", 40);
    gguf_write_f32(&w, "general.sampling.top_p", 0.25);
    gguf_write_f32(&w, "general.sampling.min_p", 0.125);
    gguf_write_f32(&w, "general.sampling.penalty_repeat", 1.5);
    g = gguf_open_written(&w);
    assert_int_equal(gguf_generation(&x, g, &e), 0);
    assert_true(x.temperature == 0.5 && x.top_p == 0.25 && x.min_p == 0.125 && x.repeat_penalty == 1.5);
    assert_int_equal(x.top_k, 40);
    assert_false(x.has_do_sample);
    generation_free(&x);
    gguf_close(g);
    gguf_write_begin(&w);
    gguf_write_f32(&w, "general.sampling.top_p", 2);
    g = gguf_open_written(&w);
    assert_int_equal(gguf_generation(&x, g, &e), -EINVAL);
    assert_non_null(strstr(e.text, "general.sampling.top_p: 2, and can be from 0 to 1"));
    generation_free(&x);
    gguf_close(g);
}

/* All of it through a source; how texts are split is for files that may not say it. */
static void sources_give_it(void **state)
{
    char *folder = scratch_make();
    struct gguf_writer w;
    struct vocabulary v = {0};
    struct model_generation x;
    struct tokenizer *t;
    struct source *s;
    struct error e = {0};

    (void)state;
    vocabulary_add(&v, "a", NORMAL, 0);
    vocabulary_add(&v, "<|im_end|>", CONTROL, 0);
    vocabulary_add(&v, "aa", NORMAL, 0);
    gguf_write_begin(&w);
    vocabulary_write(&w, &v, "gpt2");
    gguf_write_strings(&w, "tokenizer.ggml.merges", (const char *const[]){"a a"}, 1);
    gguf_write_file(&w, folder, "a.gguf");
    if (source_open(&s, scratch_path(folder, "a.gguf"), &e)) fail_msg("%s", e.text);
    assert_int_equal(source_tokenizer(s, &t, &e), -ENOTSUP);
    e = (struct error){0};
    assert_int_equal(source_set_split(s, "gpt-2", &e), 0);
    if (source_tokenizer(s, &t, &e) || source_generation(s, NULL, &x, &e)) fail_msg("%s", e.text);
    assert_int_equal(tokenizer_token_id(t, "aa"), 2);
    assert_int_equal(x.eos_count, 1);
    assert_true(source_text_bytes(s) > 0);
    generation_free(&x);
    tokenizer_close(t);
    source_close(s);
    if (source_open(&s, "tests/data/demo-model", &e)) fail_msg("%s", e.text);
    assert_int_equal(source_set_split(s, "gpt-2", &e), -EINVAL);
    assert_non_null(strstr(e.text, "--pre is for GGUF files"));
    source_close(s);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_have_names), cmocka_unit_test(answers_end_with_all_of_them),
        cmocka_unit_test(ends_are_told),        cmocka_unit_test(sampling_is_the_makers),
        cmocka_unit_test(sources_give_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
