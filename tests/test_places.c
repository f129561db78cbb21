/* What people give in the place of a model folder, and what lies in folders that are none: where it can be understood it
 * is, and everything else is told in one line what it is and what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "coordinator/arch/quant.h"
#include "coordinator/source/explain.h"
#include "coordinator/source/place.h"
#include "coordinator/source/template.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define DEMO    "tests/data/demo-model"
#define SECONDS 30

/* ---- folders ---- */

static void make_folder(const char *base, const char *name)
{
    char path[512];

    for (const char *p = name; *p; p++) {
        if (*p != '/' && p[1]) continue;
        snprintf(path, sizeof path, "%s/%.*s", base, (int)(p - name + 1), name);
        if (mkdir(path, 0777) && errno != EEXIST) fail_msg("%s: %s", path, strerror(errno));
    }
}

/* The demo model's files as links in FOLDER/below (or in the folder itself). */
static void link_demo(const char *folder, const char *below)
{
    static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    char here[300], from[400], to[700];

    assert_non_null(getcwd(here, sizeof here));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(from, sizeof from, "%s/" DEMO "/%s", here, names[i]);
        snprintf(to, sizeof to, "%s/%s%s%s", folder, below, *below ? "/" : "", names[i]);
        assert_int_equal(symlink(from, to), 0);
    }
}

static void expect_place(const char *given, const char *folder, const char *name, int line)
{
    struct place p;
    struct error e = {0};

    if (place_find(&p, given, &e)) fail_msg("line %d: %s", line, e.text);
    if (strcmp(p.folder, folder) || strcmp(p.name, name))
        fail_msg("line %d: %s is \"%s\" in %s, not \"%s\" in %s", line, given, p.name, p.folder, name, folder);
    place_free(&p);
}
#define PLACE(given, folder, name) expect_place(given, folder, name, __LINE__)

static void expect_none(const char *given, const char *words, int line)
{
    struct place p;
    struct error e = {0};

    if (!place_find(&p, given, &e)) fail_msg("line %d: %s is taken for %s", line, given, p.folder);
    assert_null(p.folder);
    if (!strstr(e.text, words) || !strstr(e.text, given))
        fail_msg("line %d: \"%s\" does not say \"%s\"", line, e.text, words);
    assert_null(strchr(e.text, '\n'));
}
#define NONE(given, words) expect_none(given, words, __LINE__)

/* ---- places ---- */

static void folders_and_their_files(void **state)
{
    char *folder = scratch_make(), path[300], sub[300];
    const char *name = strrchr(folder, '/') + 1;
    struct error e = {0};
    struct place p;

    (void)state;
    link_demo(folder, "");
    PLACE(folder, folder, name);
    snprintf(path, sizeof path, "%s///", folder);
    PLACE(path, path, name);
    snprintf(path, sizeof path, "%s/config.json", folder);
    PLACE(path, folder, name);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    PLACE(path, folder, name);
    make_folder(folder, "sub");
    snprintf(sub, sizeof sub, "%s/sub/..", folder);
    PLACE(sub, sub, name);
    scratch_write(folder, "model.fp16.safetensors", "");
    snprintf(path, sizeof path, "%s/model.fp16.safetensors", folder);
    NONE(path, "takes no tensor from it");
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    NONE(path, "not a folder: give the folder that holds config.json, ");
    snprintf(path, sizeof path, "%s/config.json/x", folder);
    NONE(path, "give the path of a model folder");
    scratch_remove(folder);

    folder = reference_make("llama-bias-f16-sharded");
    name = strrchr(folder, '/') + 1;
    snprintf(path, sizeof path, "%s/model-00004-of-00005.safetensors", folder);
    PLACE(path, folder, name);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    PLACE(path, folder, name);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/model-00004-of-00005.safetensors", folder);
    PLACE(path, folder, name); /* without the index too */
    assert_int_equal(unlink(scratch_path(folder, "config.json")), 0);
    assert_true(place_find(&p, path, &e) < 0);
    assert_non_null(strstr(e.text, "config.json: no such file, though model-00001-of-00005.safetensors is there"));
    scratch_remove(folder);
}

static void hub_caches(void **state)
{
    char *cache = scratch_make(), root[300], one[400], two[400], path[500];
    struct error e = {0};

    (void)state;
    snprintf(root, sizeof root, "%s/models--org--name--x", cache);
    make_folder(cache, "models--org--name--x/snapshots");
    make_folder(cache, "models--org--name--x/refs");
    NONE(root, "a cache without a snapshot");
    make_folder(cache, "models--org--name--x/snapshots/0123");
    link_demo(cache, "models--org--name--x/snapshots/0123");
    snprintf(one, sizeof one, "%s/snapshots/0123", root);
    snprintf(two, sizeof two, "%s/snapshots/4567", root);
    PLACE(root, one, "org/name--x"); /* the only one, whatever refs says */
    PLACE(one, one, "org/name--x");
    snprintf(path, sizeof path, "%s/config.json", one);
    PLACE(path, one, "org/name--x");
    make_folder(cache, "models--org--name--x/snapshots/4567");
    NONE(root, "a cache of 2 snapshots");
    snprintf(path, sizeof path, "%s/refs", root);
    scratch_write(path, "main", "4567\n");
    PLACE(root, two, "org/name--x");
    scratch_write(path, "main", "0123");
    PLACE(root, one, "org/name--x");
    scratch_write(path, "main", "89ab");
    NONE(root, "refs/main names none of them");
    scratch_write(path, "main", "../../../etc");
    NONE(root, "refs/main names none of them");
    scratch_write(path, "main", "");
    NONE(root, "refs/main names none of them");
    assert_int_equal(unlink(scratch_path(path, "main")), 0);
    assert_int_equal(mkfifo(scratch_path(path, "main"), 0666), 0);
    alarm(SECONDS);
    NONE(root, "refs/main names none of them");
    alarm(0);
    /* the cache itself is a folder of others */
    PLACE(cache, cache, strrchr(cache, '/') + 1);
    assert_int_equal(explain_folder(cache, &e), -ENOENT);
    assert_non_null(strstr(e.text, "a cache of 1 model: give one of them, as in "));
    scratch_remove(cache);
}

static void names_on_the_hub(void **state)
{
    static const char *const hub[][2] = {
        {"Qwen/Qwen3-8B", "hf download Qwen/Qwen3-8B --local-dir Qwen3-8B)"},
        {"https://huggingface.co/Qwen/Qwen3-8B", "hf download Qwen/Qwen3-8B --"},
        {"https://huggingface.co/Qwen/Qwen3-8B/tree/main", "hf download Qwen/Qwen3-8B --"},
        {"hf.co/a-b/c.d_e", "hf download a-b/c.d_e --local-dir c.d_e)"}};
    static const char *const none[] = {"no-such-folder",
                                       "./Qwen/Qwen3-8B",
                                       "/no/such",
                                       "a/b/c",
                                       "tests/gone",
                                       "../x/y",
                                       "a//b",
                                       "a/",
                                       "/",
                                       "llama3:8b",
                                       "a b/c"};
    char *cache = scratch_make(), path[300];

    (void)state;
    setenv("HF_HUB_CACHE", cache, 1);
    for (size_t i = 0; i < sizeof hub / sizeof *hub; i++) NONE(hub[i][0], hub[i][1]);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (strcmp(none[i], "/")) NONE(none[i], "No such file or directory: give the path of a model folder");
    make_folder(cache, "models--Qwen--Qwen3-8B/snapshots");
    snprintf(path, sizeof path, "that model is in the hub's cache: give %s/models--Qwen--Qwen3-8B", cache);
    NONE("Qwen/Qwen3-8B", path);
    NONE("https://huggingface.co/Qwen/Qwen3-8B/blob/main/config.json", path);
    unsetenv("HF_HUB_CACHE");
    snprintf(path, sizeof path, "%s/dangling", cache);
    assert_int_equal(symlink("gone", path), 0);
    NONE(path, "a link to gone, which is not there");
    scratch_remove(cache);
}

static void files_of_other_kinds(void **state)
{
    static const struct {
        const char *name, *head, *says;
    } cases[] = {
        {"m.gguf", "GGUF\3", "a GGUF file"},
        {"blob", "GGUF\3", "a GGUF file"}, /* as ollama has them */
        {"page.gguf", "<!doctype html>", "an HTML page"},
        {"pytorch_model.bin", "PK\3\4", "a zip archive"},
        {"model.onnx", "\x08\x07", "not a folder: give the folder that holds config.json"},
        {"page", "<!doctype html>", "an HTML page"},
    };
    char *folder = scratch_make(), path[300];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scratch_write(folder, cases[i].name, cases[i].head);
        snprintf(path, sizeof path, "%s/%s", folder, cases[i].name);
        NONE(path, cases[i].says);
    }
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0666), 0);
    alarm(SECONDS);
    NONE(path, "a named pipe");
    NONE("/dev/zero", "a device");
    alarm(0);
    scratch_remove(folder);
}

/* ---- folders that are none ---- */

static void folders_of_other_kinds(void **state)
{
    static const struct {
        const char *files[4]; /* names; those that end with '/' are folders */
        const char *first;    /* what the first of them holds */
        const char *says;
    } cases[] = {
        {{"a-Q4_K_M.gguf"}, "GGUF", "a-Q4_K_M.gguf: its header goes on behind the end of the file"},
        {{"Q4_K_M/", "Q4_K_M/a.gguf"}, NULL, "GGUF files lie in folders below it: give one of them, as in "},
        {{"b.gguf", "a.gguf", "mmproj-a.gguf"}, "", "2 models in GGUF files lie there: give one of them, as in "},
        {{"a-00002-of-00002.gguf"}, "GGUF", "a model folder holds config.json beside its safetensors files"},
        {{"adapter_config.json", "adapter_model.safetensors"},
         "{\"base_model_name_or_path\":\"org/base\"}",
         "an adapter (LoRA), not a model, and adapters are not supported: merge it into its model org/base first"},
        {{"adapter_model.bin"}, "", "an adapter (LoRA)"},
        {{"adapter_config.json"}, "<html>", "an adapter (LoRA)"},
        {{"params.json", "consolidated.safetensors", "tekken.json"},
         "{}",
         "consolidated.safetensors is in the naming of Mistral's own code"},
        {{"params.json", "consolidated.00.pth"}, "{}", "consolidated.00.pth is in the naming of Meta's own code"},
        {{"model_index.json", "unet/"}, "{}", "a diffusion pipeline"},
        {{"models--a--b/", "models--c--d/"}, NULL, "a cache of 2 models: give one of them, as in "},
        {{"README.md", "Qwen3/", "Qwen3/config.json"}, "", "the model lies in a folder below it: give "},
        {{"model.safetensors", "tokenizer.json"}, "", "config.json: no such file, though model.safetensors is there"},
        {{"x.safetensors.incomplete"}, "", "is half a download"},
        {{"model.safetensors.aria2"}, "", "is half a download"},
        {{"pytorch_model-00001-of-00002.bin"}, "", "which is a program and not data"},
        {{"model.onnx"}, "", "ONNX: take or convert to safetensors"},
        {{"weights.npz"}, "", "an early mlx"},
        {{".git/"}, NULL, "the folder is empty: git cloned it without its files"},
        {{".cache/"}, NULL, "a download was begun and not ended"},
        {{NULL}, NULL, "the folder is empty"},
        {{"notes.txt"}, "", "a model folder holds config.json beside its safetensors files"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = scratch_make();
        struct model *m = NULL;
        struct error e = {0};

        for (size_t k = 0; k < 4 && cases[i].files[k]; k++) {
            const char *name = cases[i].files[k];

            if (name[strlen(name) - 1] == '/')
                make_folder(folder, name);
            else
                scratch_write(folder, name, k ? "" : cases[i].first);
        }
        assert_true(model_open(&m, folder, NULL, &e) < 0);
        if (!strstr(e.text, cases[i].says) || !strstr(e.text, folder)) fail_msg("case %zu: \"%s\"", i, e.text);
        if (strlen(e.text) > 400 || strchr(e.text, '\n')) fail_msg("case %zu is more than a line: \"%s\"", i, e.text);
        scratch_remove(folder);
    }
}

/* config.json is right, and the weights are of another kind or not there. */
static void weights_of_other_kinds(void **state)
{
    static const struct {
        const char *file, *head, *says;
    } cases[] = {
        {"a.gguf", "GGUF", "its header goes on behind the end of the file"},
        {"adapter_model.safetensors", "", "an adapter (LoRA)"},
        {"consolidated.00.pth", "", "Meta's own code"},
        {"pytorch_model.bin", "", "pytorch_model.bin"},
        {"pytorch_model.bin.index.json", "", "pytorch_model.bin"},
        {"flax_model.msgpack", "", "Flax's"},
        {"tf_model.h5", "", "TensorFlow's"},
        {"model.safetensors.part", "", "half a download"},
        {"model.safetensors", "<html>Access to this model is restricted</html>", "an HTML page"},
        {"model.safetensors", "", "is empty"},
        {"model.safetensors", "Entry not found", "\"Entry not found\""},
        {"model.safetensors", "GGUF\3", "a GGUF file"},
        {"model.safetensors", "PK\3\4", "a zip archive"},
        {"quantize_config.json", "{\"bits\":4}", "no weights: neither model.safetensors nor"},
        {"nothing", "", "no weights: neither model.safetensors nor"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = reference_make("llama");
        struct model *m = NULL;
        struct error e = {0};

        assert_int_equal(unlink(scratch_path(folder, "model.safetensors")), 0);
        scratch_write(folder, cases[i].file, cases[i].head);
        assert_true(model_open(&m, folder, NULL, &e) < 0);
        if (!strstr(e.text, cases[i].says) || !strstr(e.text, folder)) fail_msg("case %zu: \"%s\"", i, e.text);
        scratch_remove(folder);
    }
}

/* ---- configs ---- */

/* The reference's config.json with these fields set. */
static void set_config(const char *folder, const char *fields)
{
    json_t *o = json_load_file(REFERENCE_MODELS "/llama/config.json", 0, NULL), *more = json_loads(fields, 0, NULL);
    char *text;

    assert_non_null(more);
    json_object_update(o, more);
    text = json_dumps(o, 0);
    scratch_write(folder, "config.json", text);
    free(text);
    json_decref(more);
    json_decref(o);
}

static void configs_of_other_kinds(void **state)
{
    static const char *const cases[][2] = {
        {"{\"architectures\":[\"MistralModel\"],\"model_type\":\"mistral\"}", "it makes embeddings"},
        {"{\"architectures\":[\"LlamaModel\"]}", "it makes embeddings"},
        {"{\"architectures\":[\"BertModel\"],\"model_type\":\"bert\"}", "it makes embeddings"},
        {"{\"architectures\":[\"T5ForConditionalGeneration\"],\"model_type\":\"t5\",\"is_encoder_decoder\":true}",
         "has an encoder and a decoder"},
        {"{\"architectures\":[\"BertForMaskedLM\"],\"model_type\":\"bert\"}", "fills gaps"},
        {"{\"architectures\":[\"WhisperForConditionalGeneration\"],\"model_type\":\"whisper\",\"is_encoder_decoder\":"
         "true}",
         "speech"},
        {"{\"architectures\":[\"ViTForImageClassification\"],\"model_type\":\"vit\"}", "looks at pictures"},
        {"{\"architectures\":[\"CLIPModel\"],\"model_type\":\"clip\"}", "pictures"},
        {"{\"architectures\":[\"SiglipModel\"],\"model_type\":\"siglip\"}", "pictures"},
        {"{\"architectures\":[\"Qwen2ForRewardModel\"],\"model_type\":\"qwen2\"}", "judges answers"},
        {"{\"architectures\":[\"LlamaForSequenceClassification\"]}", "judges texts"},
        {"{\"quantization_config\":{\"group_size\":64,\"bits\":4}}", "by a method that quant_method does not name"},
        {"{\"quantization_config\":{\"group_size\":64,\"bits\":4},\"quantization\":{\"group_size\":64,\"bits\":4}}",
         "quantized for mlx (4 bits, a scale for 64 weights)"},
        {"{\"quantization\":{\"group_size\":64,\"bits\":4}}", "quantized for mlx"},
        {"{\"quantization_config\":{\"quant_method\":\"aqlm\"}}", "\"aqlm\""},
    };
    char *folder = reference_make("llama");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model *m = NULL;
        struct error e = {0};

        set_config(folder, cases[i][0]);
        assert_true(model_open(&m, folder, NULL, &e) < 0);
        if (!strstr(e.text, cases[i][1]) || !strstr(e.text, "config.json")) fail_msg("%s: \"%s\"", cases[i][0], e.text);
    }
    scratch_write(folder, "config.json", "{\"_class_name\":\"FluxTransformer2DModel\"}");
    struct model *m = NULL;
    struct error e = {0};
    assert_true(model_open(&m, folder, NULL, &e) < 0);
    assert_non_null(strstr(e.text, "a part of a diffusion pipeline (FluxTransformer2DModel)"));
    scratch_write(folder, "config.json", "{\"error\":\"Access denied\"}");
    assert_true(model_open(&m, folder, NULL, &e) < 0);
    assert_non_null(strstr(e.text, "a server's message lies there instead of the file (\"Access denied\")"));
    scratch_write(folder, "config.json", "<!DOCTYPE html><html>");
    assert_true(model_open(&m, folder, NULL, &e) < 0);
    assert_non_null(strstr(e.text, "an HTML page"));
    scratch_write(folder, "config.json", "{}");
    assert_true(model_open(&m, folder, NULL, &e) < 0);
    assert_non_null(strstr(e.text, "it names neither an architecture nor a model_type"));
    scratch_remove(folder);
}

static void nearest_names(void **state)
{
    static const struct {
        const char *name, *near, *far; /* far: a word that may not be in the message */
    } cases[] = {
        {"Qwen4ForCausalLM", "the nearest are Qwen", "Llama"},
        {"LLamaForCausalLM", "Llama", "Qwen"},
        {"Llama5ForCausalLM", "Llama", "Gemma"},
        {"DeepseekV9ForCausalLM", "DeepseekV3", "Qwen"},
        {"RwkvForCausalLM", "nor one of a like name", "nearest"},
        {"Gemma9ForCausalLM", "Gemma3", "Glm"},
        {"", "nor one of a like name", "nearest"},
    };
    char *folder = reference_make("llama"), fields[200];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model *m = NULL;
        struct error e = {0};

        snprintf(fields, sizeof fields, "{\"architectures\":[\"%s\"],\"model_type\":\"no-such-type\"}", cases[i].name);
        set_config(folder, fields);
        assert_int_equal(model_open(&m, folder, NULL, &e), -ENOTSUP);
        if (!strstr(e.text, cases[i].near) || strstr(e.text, cases[i].far))
            fail_msg("%s: \"%s\"", cases[i].name, e.text);
        if (strlen(e.text) > strlen(folder) + 250) fail_msg("%s: too long: \"%s\"", cases[i].name, e.text);
    }
    scratch_remove(folder);
}

/* Weights that are quantized without a word in config.json, told by their tensors' names. */
static void quantized_in_silence(void **state)
{
    static const struct {
        const char *name, *beside, *says; /* says: NULL for nothing */
        uint32_t dtype;
    } cases[] = {
        {"l.up_proj.qweight", "l.up_proj.qzeros", "AWQ or GPTQ", TENSOR_I32},
        {"l.up_proj.qweight", "l.up_proj.g_idx", "by GPTQ", TENSOR_I32},
        {"l.up_proj.weight_packed", "l.up_proj.weight_scale", "compressed-tensors", TENSOR_I32},
        {"l.up_proj.weight", "l.up_proj.weight.absmax", "bitsandbytes", TENSOR_U8},
        {"l.up_proj.weight", "l.up_proj.weight_scale_2", "ModelOpt", TENSOR_U8},
        {"l.up_proj.weight", "l.up_proj.scales", "mlx", TENSOR_U32},
        {"l.up_proj.weight", "l.up_proj.scales", NULL, TENSOR_BF16},
        {"l.up_proj.weight", "l.up_proj.weight_scale_inv", NULL, TENSOR_F8_E4M3},
        {"l.up_proj.weight", "l.down_proj.weight", NULL, TENSOR_BF16},
    };
    char *folder = reference_make("llama");
    struct config *c;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tensors *t = calloc(1, sizeof *t);
        struct error e = {0};
        int rc;

        assert_non_null(t);
        assert_int_equal(tensors_add(t, &(struct tensor){.name = cases[i].name, .dtype = cases[i].dtype}, NULL), 0);
        assert_int_equal(tensors_add(t, &(struct tensor){.name = cases[i].beside, .dtype = TENSOR_F32}, NULL), 0);
        assert_int_equal(config_open(&c, folder, &e), 0);
        t->folder = strdup(folder);
        assert_non_null(t->folder);
        rc = quant_unnamed(c, t, &e);
        if (!cases[i].says != !rc) fail_msg("case %zu: %d, \"%s\"", i, rc, e.text);
        if (rc && (!strstr(e.text, cases[i].says) || !strstr(e.text, "not config.json")))
            fail_msg("case %zu: \"%s\"", i, e.text);
        config_close(c);
        tensors_close(t);
    }
    scratch_remove(folder);
}

/* ---- what is no file in the place of any file ---- */

enum odd { ODD_PIPE, ODD_SOCKET, ODD_FOLDER, ODD_DEVICE, ODD_DANGLING, ODD_KINDS };

static void put_odd(const char *path, enum odd kind)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int s;

    unlink(path);
    switch (kind) {
    case ODD_PIPE: assert_int_equal(mkfifo(path, 0666), 0); break;
    case ODD_SOCKET:
        s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
        assert_int_equal(bind(s, (struct sockaddr *)&name, sizeof name), 0);
        close(s);
        break;
    case ODD_FOLDER: assert_int_equal(mkdir(path, 0777), 0); break;
    case ODD_DEVICE: assert_int_equal(symlink("/dev/zero", path), 0); break;
    default: assert_int_equal(symlink("gone", path), 0);
    }
}

/* Everything that a run opens; the first error, or 0. */
static int open_all(const char *folder, struct error *e)
{
    struct model *m = NULL;
    struct tokenizer *t = NULL;
    struct template *c = NULL;
    int rc = model_open(&m, folder, NULL, e);

    if (!rc) rc = tokenizer_open(&t, folder, e);
    if (!rc) rc = template_open(&c, folder, NULL, e);
    if (!rc) template_close(c);
    tokenizer_close(t);
    model_close(m);
    return rc;
}

static void odd_files_never_wait(void **state)
{
    /* must: a run needs the file, or would take what is in it */
    static const struct {
        const char *name;
        bool must;
    } files[] = {{"config.json", true},
                 {"model.safetensors", true},
                 {"generation_config.json", true},
                 {"tokenizer.json", true},
                 {"tokenizer_config.json", true},
                 {"special_tokens_map.json", true},
                 {"chat_template.jinja", true},
                 {"additional_chat_templates/tool_use.jinja", true},
                 {"modules.json", false},
                 {"quantize_config.json", false},
                 {"model.safetensors.index.json", false},
                 {"tokenizer.model", false},
                 {"SHA256SUMS", false},
                 {"adapter_config.json", false},
                 {"README.md", false}};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        for (int kind = 0; kind < ODD_KINDS; kind++) {
            char *folder = scratch_make();
            struct error e = {0};
            int rc;

            link_demo(folder, "");
            if (strchr(files[i].name, '/')) make_folder(folder, "additional_chat_templates");
            put_odd(scratch_path(folder, files[i].name), (enum odd)kind);
            alarm(SECONDS); /* whoever waits for a pipe's writer is killed */
            rc = open_all(folder, &e);
            alarm(0);
            if (files[i].must != (rc != 0)) fail_msg("%s, kind %d: %d %s", files[i].name, kind, rc, e.text);
            if (rc && !strstr(e.text, files[i].name)) fail_msg("%s, kind %d: \"%s\"", files[i].name, kind, e.text);
            scratch_remove(folder);
        }
    }
}

/* ---- as a user ---- */

static char *say(const char *const *arg, int status, int line)
{
    struct process_result r = process_run("sluice", arg, NULL, 0, SECONDS);
    char *err = strdup(r.err);

    if (r.status != status) fail_msg("line %d: exit %d: %s", line, r.status, r.err);
    process_result_free(&r);
    return err;
}
#define SAY(status, ...) say((const char *const[]){__VA_ARGS__, NULL}, status, __LINE__)

static void every_command(void **state)
{
    char *cache = scratch_make(), root[300], *text;
    static const char *const commands[] = {"plan", "verify", "logits", "template", "tokenize", "run"};

    (void)state;
    make_folder(cache, "models--org--name/snapshots/0123");
    link_demo(cache, "models--org--name/snapshots/0123");
    snprintf(root, sizeof root, "%s/models--org--name", cache);
    text = SAY(0, "run", root, "-p", "Once", "-n", "1", "--temperature", "0");
    free(text);
    text = SAY(0, "plan", root);
    free(text);
    text = SAY(0, "verify", root);
    free(text);
    text = SAY(0, "logits", root, "--tokens", "1", "--out", "/dev/null", "-v");
    if (!strstr(text, "the model is taken from ") || !strstr(text, "/snapshots/0123")) fail_msg("%s", text);
    free(text);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *arg[8] = {commands[i], "Qwen/Qwen3-8B", NULL};

        if (!strcmp(commands[i], "logits"))
            memcpy(arg + 2, (const char *const[]){"--tokens", "1", "--out", "/dev/null"}, 4 * sizeof *arg);
        text = say(arg, 1, __LINE__);
        if (!strstr(text, "hf download Qwen/Qwen3-8B")) fail_msg("%s: %s", commands[i], text);
        free(text);
    }
    scratch_remove(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_and_their_files), cmocka_unit_test(hub_caches),
        cmocka_unit_test(names_on_the_hub),        cmocka_unit_test(files_of_other_kinds),
        cmocka_unit_test(folders_of_other_kinds),  cmocka_unit_test(weights_of_other_kinds),
        cmocka_unit_test(configs_of_other_kinds),  cmocka_unit_test(nearest_names),
        cmocka_unit_test(quantized_in_silence),    cmocka_unit_test(odd_files_never_wait),
        cmocka_unit_test(every_command),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
