/* What `sluice verify` tells beside what it reads: everything that a run would refuse, whichever file it is in, and what the
 * format's own library refuses although a run does not mind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/mkmodel.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define DEMO    "tests/data/demo-model"
#define WEIGHTS "model.safetensors"
#define SECONDS 30
#define POINTER "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"

/* The report, which the caller frees; status is verify's. */
static json_t *verify(const char *folder, int *status)
{
    const char *arg[] = {"verify", "--json", folder, NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, SECONDS);
    json_t *o = json_loads(r.out, 0, NULL);

    if (!o) fail_msg("no report: %s%s", r.err, r.out);
    *status = r.status;
    assert_int_equal(r.status, json_array_size(json_object_get(o, "findings")) ? 1 : 0);
    process_result_free(&r);
    return o;
}

static const char *finding(const json_t *report, size_t i)
{
    const char *s = json_string_value(json_object_get(json_array_get(json_object_get(report, "findings"), i), "text"));

    return s ? s : "";
}

/* One finding, which says so, or none where says is NULL; and a note, or NULL. */
static void expect_line(const char *folder, const char *says, const char *note, int line)
{
    int status;
    json_t *o = verify(folder, &status), *n;
    size_t i, found = json_array_size(json_object_get(o, "findings"));
    bool noted = !note;

    if (found != (says ? 1 : 0) || (says && !strstr(finding(o, 0), says)))
        fail_msg("line %d: %zu findings, of which the first is \"%s\", not \"%s\"", line, found, finding(o, 0),
                 says ? says : "");
    json_array_foreach(json_object_get(o, "notes"), i, n) noted |=
        strstr(json_string_value(n), note ? note : "") != NULL;
    if (!noted) fail_msg("line %d: no note says \"%s\": %s", line, note, json_dumps(json_object_get(o, "notes"), 0));
    json_decref(o);
}
#define EXPECT(folder, says, note) expect_line(folder, says, note, __LINE__)

/* ---- whatever a run refuses ---- */

/* The demo model, as links. */
static char *demo(void)
{
    static const char *const names[] = {"config.json", "generation_config.json", WEIGHTS, "tokenizer.json",
                                        "tokenizer_config.json"};
    char *folder = scratch_make(), from[600], here[400];

    assert_non_null(getcwd(here, sizeof here));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(from, sizeof from, "%s/" DEMO "/%s", here, names[i]);
        assert_int_equal(symlink(from, scratch_path(folder, names[i])), 0);
    }
    return folder;
}

/* A file of the demo model with a field of its JSON set to this JSON, or (NULL) taken out. */
static void set_field(const char *folder, const char *name, const char *key, const char *value)
{
    char path[300], *text;
    json_t *o;

    snprintf(path, sizeof path, DEMO "/%s", name);
    o = json_load_file(path, 0, NULL);
    assert_non_null(o);
    if (value)
        assert_int_equal(json_object_set_new(o, key, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
    else
        json_object_del(o, key);
    text = json_dumps(o, 0);
    unlink(scratch_path(folder, name));
    scratch_write(folder, name, text);
    free(text);
    json_decref(o);
}

enum how { TEXT, GONE, PIPE, FOLDER, DANGLING, CUT, LINK, FIELD };

struct change {
    const char *file;
    enum how how;
    const char *a, *b; /* TEXT: what it holds; LINK: where to; FIELD: key and JSON */
    bool refused;      /* by a run: to see that the change is one */
};

static const struct change changes[] = {
    {"config.json", GONE, .refused = true},
    {"config.json", TEXT, "", .refused = true},
    {"config.json", TEXT, "{", .refused = true},
    {"config.json", TEXT, "[]", .refused = true},
    {"config.json", TEXT, "<html>", .refused = true},
    {"config.json", TEXT, POINTER, .refused = true},
    {"config.json", PIPE, .refused = true},
    {"config.json", FOLDER, .refused = true},
    {"config.json", DANGLING, .refused = true},
    {"config.json", FIELD, "architectures", "[\"NoSuchForCausalLM\"]", false}, /* it runs by its model_type */
    {"config.json", FIELD, "architectures", "[\"LlamaModel\"]", true},
    {"config.json", FIELD, "architectures", "[\"LlamaForSequenceClassification\"]", true},
    {"config.json", FIELD, "model_type", "7", false},
    {"config.json", FIELD, "hidden_size", "64", true},
    {"config.json", FIELD, "hidden_size", "\"x\"", true},
    {"config.json", FIELD, "hidden_size", NULL, true},
    {"config.json", FIELD, "num_hidden_layers", "77", true},
    {"config.json", FIELD, "num_attention_heads", "7", true},
    {"config.json", FIELD, "vocab_size", "99", true},
    {"config.json", FIELD, "max_position_embeddings", "0", true},
    {"config.json", FIELD, "hidden_act", "\"sigmoidal\"", true},
    {"config.json", FIELD, "rms_norm_eps", "7", true},
    {"config.json", FIELD, "quantization_config", "{\"quant_method\":\"aqlm\"}", true},
    {"config.json", FIELD, "quantization_config", "{\"bits\":4}", true},
    {"config.json", FIELD, "is_causal", "false", true},
    {"config.json", FIELD, "eos_token_id", "\"end\"", true},
    {"config.json", FIELD, "rope_scaling", "{\"rope_type\":\"spiral\"}", true},
    {"generation_config.json", GONE, .refused = false},
    {"generation_config.json", TEXT, "{", .refused = true},
    {"generation_config.json", TEXT, "[]", .refused = true},
    {"generation_config.json", TEXT, "", .refused = true},
    {"generation_config.json", PIPE, .refused = true},
    {"generation_config.json", FOLDER, .refused = true},
    {"generation_config.json", DANGLING, .refused = true},
    {"generation_config.json", FIELD, "eos_token_id", "\"end\"", true},
    {"generation_config.json", FIELD, "temperature", "\"hot\"", true},
    {"tokenizer.json", GONE, .refused = true},
    {"tokenizer.json", TEXT, "", .refused = true},
    {"tokenizer.json", TEXT, "{", .refused = true},
    {"tokenizer.json", TEXT, "{}", .refused = true},
    {"tokenizer.json", TEXT, POINTER, .refused = true},
    {"tokenizer.json", TEXT, "<!doctype html>", .refused = true},
    {"tokenizer.json", PIPE, .refused = true},
    {"tokenizer.json", FOLDER, .refused = true},
    {"tokenizer.json", DANGLING, .refused = true},
    {"tokenizer.json", LINK, "tests/data/tokenizers/gpt2/tokenizer.json", .refused = true}, /* another model's */
    {"tokenizer.json", FIELD, "pre_tokenizer", "{\"type\":\"Frobnicate\"}", true},
    {"tokenizer_config.json", GONE, .refused = true}, /* a chat needs its template */
    {"tokenizer_config.json", TEXT, "{", .refused = true},
    {"tokenizer_config.json", PIPE, .refused = true},
    {"tokenizer_config.json", FIELD, "chat_template", "\"{% if %}\"", true},
    {"tokenizer_config.json", FIELD, "chat_template", "7", true},
    {"tokenizer_config.json", FIELD, "chat_template", "\"{{ raise_exception('not with me') }}\"", true},
    {"tokenizer_config.json", FIELD, "chat_template", "\"{{ messages | no_such_filter }}\"", true},
    {"special_tokens_map.json", TEXT, "{", .refused = true},
    {"special_tokens_map.json", PIPE, .refused = true},
    {"chat_template.jinja", TEXT, "{% for x in %}", .refused = true},
    {"chat_template.jinja", FOLDER, .refused = true},
    {"chat_template.jinja", TEXT, "\xff\xfe", .refused = true},
    {WEIGHTS, GONE, .refused = true},
    {WEIGHTS, TEXT, "", .refused = true},
    {WEIGHTS, TEXT, POINTER, .refused = true},
    {WEIGHTS, TEXT, "<html>", .refused = true},
    {WEIGHTS, PIPE, .refused = true},
    {WEIGHTS, FOLDER, .refused = true},
    {WEIGHTS, DANGLING, .refused = true},
    {WEIGHTS, CUT, .refused = true},
    {"model.safetensors.index.json", TEXT, "{", .refused = false}, /* beside model.safetensors nobody reads it */
    {"README.md", PIPE, .refused = false},
};

static void make_change(const char *folder, const struct change *c)
{
    char path[400], from[900], here[400], command[3000];

    snprintf(path, sizeof path, "%s/%s", folder, c->file);
    if (c->how == FIELD) {
        set_field(folder, c->file, c->a, c->b);
        return;
    }
    if (c->how == CUT) {
        assert_true(realpath(path, from) != NULL);
        snprintf(command, sizeof command, "cp '%s' '%s.cut' && truncate -s -100 '%s.cut' && mv '%s.cut' '%s'", from,
                 path, path, path, path);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(system(command), 0);
        return;
    }
    unlink(path);
    switch (c->how) {
    case TEXT: scratch_write(folder, c->file, c->a); break;
    case PIPE: assert_int_equal(mkfifo(path, 0666), 0); break;
    case FOLDER: assert_int_equal(mkdir(path, 0777), 0); break;
    case DANGLING: assert_int_equal(symlink("gone", path), 0); break;
    case LINK:
        assert_non_null(getcwd(here, sizeof here));
        snprintf(from, sizeof from, "%s/%s", here, c->a);
        assert_int_equal(symlink(from, path), 0);
        break;
    default: break;
    }
}

static void whatever_a_run_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const struct change *c = &changes[i];
        char *folder = demo();
        const char *arg[] = {"run", folder, "--chat", "-p", "Hello", "-n", "1", "--temperature", "0", NULL};
        struct process_result r;
        json_t *o;
        int status;

        make_change(folder, c);
        r = process_run("sluice", arg, NULL, 0, SECONDS);
        if ((r.status != 0) != c->refused)
            fail_msg("case %zu, %s: a run ends with %d: %s", i, c->file, r.status, r.err);
        o = verify(folder, &status);
        /* a folder without a template is none that a chat can be had with, and nothing wrong */
        if (r.status && !status && !strstr(r.err, "has no chat template"))
            fail_msg("case %zu, %s: verify says nothing, a run: %s", i, c->file, r.err);
        if (!r.status && status) fail_msg("case %zu, %s: it runs, and verify says: %s", i, c->file, finding(o, 0));
        for (size_t k = 0; k < json_array_size(json_object_get(o, "findings")); k++)
            if (!strstr(finding(o, k), folder)) fail_msg("case %zu: \"%s\" does not name its file", i, finding(o, k));
        json_decref(o);
        process_result_free(&r);
        scratch_remove(folder);
    }
}

/* ---- all of it at once ---- */

static void several_things(void **state)
{
    char *folder = demo(), all[20000] = "";
    int status;
    json_t *o;

    (void)state;
    set_field(folder, "config.json", "num_hidden_layers", "9");
    make_change(folder, &(struct change){.file = "tokenizer.json", .how = TEXT, .a = "{"});
    make_change(folder, &(struct change){.file = "chat_template.jinja", .how = TEXT, .a = "{% for %}"});
    o = verify(folder, &status);
    for (size_t i = 0; i < json_array_size(json_object_get(o, "findings")) && i < 50; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%.300s\n", finding(o, i));
    if (!strstr(all, "tokenizer.json") || !strstr(all, "the chat template") || !strstr(all, "model.layers.8."))
        fail_msg("%s", all);
    json_decref(o);
    scratch_remove(folder);
    /* a file that cannot be read explains its tensors, and the other things are told all the same */
    folder = demo();
    make_change(folder, &(struct change){.file = WEIGHTS, .how = CUT, .a = NULL});
    make_change(folder, &(struct change){.file = "tokenizer.json", .how = GONE, .a = NULL});
    o = verify(folder, &status);
    assert_int_equal(json_array_size(json_object_get(o, "findings")), 2);
    assert_non_null(strstr(finding(o, 0), "cut short"));
    assert_non_null(strstr(finding(o, 1), "no tokenizer"));
    json_decref(o);
    scratch_remove(folder);
}

/* Every family's weights cut short: one finding, and no tensor that is missing because of it. */
static void damage_explains_what_is_missing(void **state)
{
    static const char *const models[] = {"llama",  "qwen3-moe",  "deepseek-v3-fp8", "gpt-oss-mxfp4",
                                         "gemma3", "qwen3-next", "chatglm",         "phi3"};

    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char *folder, path[300];
        struct stat st;

        snprintf(path, sizeof path, REFERENCE_MODELS "/%s", models[i]);
        if (stat(path, &st)) continue;
        folder = reference_make_whole(models[i]);
        snprintf(path, sizeof path, "%s", scratch_path(folder, WEIGHTS));
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(truncate(path, st.st_size - 1), 0);
        EXPECT(folder, "cut short", NULL);
        scratch_remove(folder);
    }
}

/* ---- what the format's own library refuses ---- */

static void rewrite(const char *folder, const char *shell)
{
    char command[600];

    snprintf(command, sizeof command, "cd %s && %s", folder, shell);
    assert_int_equal(system(command), 0);
}

/* The reference's weights with this header field more, and so many bytes of no tensor before them. */
static void write_weights(const char *folder, const char *field, size_t gap)
{
    char *text = calloc(1, 1 << 20), *out = calloc(1, (1 << 20) + 65536), *header;
    FILE *f = fopen(scratch_path(folder, WEIGHTS), "rb");
    size_t bytes = fread(text, 1, 1 << 20, f), n;
    uint64_t length, more;
    json_t *o, *x;
    const char *key;
    struct error e;

    fclose(f);
    memcpy(&length, text, 8);
    o = json_loadb(text + 8, length, 0, NULL);
    assert_non_null(o);
    json_object_foreach(o, key, x)
    {
        json_t *at = json_object_get(x, "data_offsets");

        for (size_t i = 0; i < json_array_size(at); i++)
            json_array_set_new(at, i, json_integer(json_integer_value(json_array_get(at, i)) + (json_int_t)gap));
    }
    if (field) json_object_update_new(o, json_loads(field, 0, NULL));
    header = json_dumps(o, JSON_COMPACT);
    more = strlen(header);
    memcpy(out, &more, 8);
    memcpy(out + 8, header, more);
    n = 8 + more + gap;
    memcpy(out + n, text + 8 + length, bytes - 8 - length);
    assert_int_equal(mkmodel_write_file(folder, WEIGHTS, out, n + bytes - 8 - length, &e), 0);
    json_decref(o);
    free(header);
    free(text);
    free(out);
}

/* What is not there and need not be. */
static void what_it_does_without(void **state)
{
    char *folder = reference_make_whole("llama");

    (void)state;
    EXPECT(folder, NULL, "it has no chat template");
    EXPECT(folder, NULL, "it has no generation_config.json");
    scratch_remove(folder);
}

static void layouts(void **state)
{
    struct golden g = golden_load("llama");
    char *folder = reference_make_whole("llama");

    (void)state;
    EXPECT(folder, NULL, NULL);
    rewrite(folder, "printf x >> " WEIGHTS);
    EXPECT(folder, "1 bytes follow its last tensor: safetensors' own library", NULL);
    assert_true(golden_difference(&g, folder) < 2e-4); /* a run does not mind */
    scratch_remove(folder);

    folder = reference_make_whole("llama");
    rewrite(folder, "cp " WEIGHTS " one && cat one >> " WEIGHTS " && rm one");
    EXPECT(folder, "it was written twice", NULL);
    scratch_remove(folder);

    folder = reference_make_whole("llama");
    write_weights(folder, NULL, 12);
    EXPECT(folder, "12 bytes belong to no tensor, the first at offset ", NULL);
    assert_true(golden_difference(&g, folder) < 2e-4);
    scratch_remove(folder);

    folder = reference_make_whole("llama");
    write_weights(folder, "{\"vision.buffer\":{\"dtype\":\"Q9\",\"shape\":[1],\"data_offsets\":[0,0]}}", 0);
    EXPECT(folder, "its dtype \"Q9\" is none that safetensors knows", NULL);
    write_weights(folder, "{\"vision.buffer\":{\"dtype\":\"C64\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0);
    EXPECT(folder, NULL, "1 extra tensor");
    scratch_remove(folder);

    folder = reference_make_whole("llama");
    write_weights(folder, "{\"empty\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[1,1]}}", 0);
    EXPECT(folder, "its header has an empty tensor within another", "1 extra tensor");
    write_weights(folder, "{\"__metadata__\":{\"n\":3}}", 0);
    EXPECT(folder, "or metadata that are no strings", NULL);
    scratch_remove(folder);
    golden_free(&g);
}

static void marks(void **state)
{
    char *folder = reference_make_whole("llama");

    (void)state;
    write_weights(folder, "{\"__metadata__\":{\"format\":\"pt\"}}", 0);
    EXPECT(folder, NULL, NULL);
    write_weights(folder, "{\"__metadata__\":{\"format\":\"mlx\"}}", 0);
    EXPECT(folder, NULL, WEIGHTS " is a conversion for mlx");
    write_weights(folder, "{\"__metadata__\":{\"format\":\"flax\"}}", 0);
    EXPECT(folder, NULL, "marked as written for \"flax\"");
    scratch_remove(folder);
}

/* ---- the index ---- */

static void indexes(void **state)
{
    char *folder = reference_make_whole("llama-bias-f16-sharded"), *extra;
    const char *index = "model.safetensors.index.json";
    json_t *o, *map;

    (void)state;
    o = json_load_file(scratch_path(folder, index), 0, NULL);
    map = json_object_get(o, "weight_map");
    json_object_set_new(map, "mtp.fc.weight", json_string("model-00002-of-00005.safetensors"));
    assert_int_equal(json_dump_file(o, scratch_path(folder, index), 0), 0);
    EXPECT(folder, NULL,
           "names 1 tensor that no file has (mtp.fc.weight, which should be in model-00002-of-00005.safetensors)");
    json_object_set_new(map, "mtp.fc.weight", json_string("model-00009-of-00009.safetensors"));
    assert_int_equal(json_dump_file(o, scratch_path(folder, index), 0), 0);
    EXPECT(folder, "model-00009-of-00009.safetensors: No such file",
           NULL); /* it runs; the reference library does not load it */
    json_object_del(map, "mtp.fc.weight");
    json_object_set_new(map, "copy", json_string("zz.safetensors"));
    assert_int_equal(json_dump_file(o, scratch_path(folder, index), 0), 0);
    extra = strdup(scratch_path(folder, "zz.safetensors"));
    rewrite(folder, "cp model-00002-of-00005.safetensors zz.safetensors");
    EXPECT(folder, NULL, "in two files (");
    free(extra);
    json_decref(o);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_a_run_refuses),
        cmocka_unit_test(several_things),
        cmocka_unit_test(damage_explains_what_is_missing),
        cmocka_unit_test(what_it_does_without),
        cmocka_unit_test(layouts),
        cmocka_unit_test(marks),
        cmocka_unit_test(indexes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
