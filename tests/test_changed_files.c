/* A file of the model that changes under a run: noticed whether its tiles are streamed or were all pinned, read past the
 * page cache or from it, and named with what to do. A signal in place of a message (SIGBUS) would be a crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "tests/mkmodel.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define LAYERS  6
#define TOKENS  1000 /* one a sweep: far more sweeps than the test waits for */
#define SECONDS 30
#define WEIGHTS "model.safetensors"

/* Some 50 MB that are holes: nothing is written to make it, and a sweep takes its time. */
static char *model_make(void)
{
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":512,"
        "\"intermediate_size\":2048,\"num_hidden_layers\":6,\"num_attention_heads\":8,"
        "\"num_key_value_heads\":8,\"vocab_size\":1000,\"max_position_embeddings\":4096,"
        "\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":false,\"torch_dtype\":\"bfloat16\"}";
    static const struct {
        const char *name, *shape;
    } each[] = {{"input_layernorm.weight", "512"},      {"post_attention_layernorm.weight", "512"},
                {"self_attn.q_proj.weight", "512x512"}, {"self_attn.k_proj.weight", "512x512"},
                {"self_attn.v_proj.weight", "512x512"}, {"self_attn.o_proj.weight", "512x512"},
                {"mlp.gate_proj.weight", "2048x512"},   {"mlp.up_proj.weight", "2048x512"},
                {"mlp.down_proj.weight", "512x2048"}};
    char *folder = scratch_make(), *list = NULL;
    size_t bytes;
    FILE *f = open_memstream(&list, &bytes);
    struct error e;

    assert_non_null(f);
    fprintf(f, WEIGHTS "\tmodel.embed_tokens.weight\tBF16\t1000x512\tsparse\n" WEIGHTS
                       "\tlm_head.weight\tBF16\t1000x512\tsparse\n" WEIGHTS "\tmodel.norm.weight\tBF16\t512\tsparse\n");
    for (int i = 0; i < LAYERS; i++)
        for (size_t k = 0; k < sizeof each / sizeof *each; k++)
            fprintf(f, WEIGHTS "\tmodel.layers.%d.%s\tBF16\t%s\tsparse\n", i, each[k].name, each[k].shape);
    fclose(f);
    if (mkmodel_from_text(list, folder, &e)) fail_msg("%s", e.text);
    scratch_write(folder, "config.json", config);
    free(list);
    return folder;
}

static void truncate_it(const char *path)
{
    assert_int_equal(truncate(path, 1 << 20), 0);
}

static void rewrite_it(const char *path)
{
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\x01\x02", 2, 30 << 20), 2);
    close(fd);
}

static void replace_it(const char *path)
{
    char other[4096];
    struct stat st;
    int fd;

    assert_int_equal(stat(path, &st), 0);
    snprintf(other, sizeof other, "%s.other", path);
    fd = open(other, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, st.st_size), 0);
    assert_int_equal(futimens(fd, (struct timespec[]){st.st_atim, st.st_mtim}), 0); /* of the same size and age */
    close(fd);
    assert_int_equal(rename(other, path), 0);
}

static void delete_it(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

/* How many sweeps have passed cannot be seen from outside; that the stages are at work can. */
static void wait_until_it_works(pid_t pid)
{
    char path[64], text[256] = "";

    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    for (int i = 0; i < 500; i++) {
        int children = 0;
        FILE *f = fopen(path, "r");

        if (f && fgets(text, sizeof text, f))
            for (char *s = text; *s; s++) children += *s == ' ';
        if (f) fclose(f);
        if (children >= 3) break;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
}

static void changes(void (*change)(const char *), const char *says, bool pinned, const char *io)
{
    char *folder = model_make(), *tokens = NULL, path[4096];
    size_t bytes;
    FILE *f = open_memstream(&tokens, &bytes);
    struct process_result r;
    struct process p;

    for (int i = 0; i < TOKENS; i++) fprintf(f, "%d ", i % 900);
    fclose(f);
    snprintf(path, sizeof path, "%s", scratch_path(folder, WEIGHTS));
    p = process_start("sluice",
                      (const char *const[]){"logits", folder, "--tokens", tokens, "--positions", "999", "--out",
                                            "/dev/null", "--chunk", "1", "--threads", "1", "--io", io, "--context",
                                            "1024", "--host-memory", pinned ? "600M" : "160M", NULL});
    wait_until_it_works(p.pid);
    change(path);
    r = process_finish(&p, NULL, 0, SECONDS);
    if (r.status != 1 || !strstr(r.err, says) || !strstr(r.err, path) || !strstr(r.err, "start again"))
        fail_msg("%s, %s: exit %d; '%s' was expected: %s", pinned ? "pinned" : "streamed", io, r.status, says, r.err);
    process_result_free(&r);
    free(tokens);
    scratch_remove(folder);
}

static void in_every_way(void (*change)(const char *), const char *says)
{
    changes(change, says, false, "direct");
    changes(change, says, false, "buffered");
    changes(change, says, true, "auto");
}

static void truncated(void **state)
{
    (void)state;
    in_every_way(truncate_it, "bytes now");
}

static void rewritten(void **state)
{
    (void)state;
    in_every_way(rewrite_it, "was written to");
}

static void replaced(void **state)
{
    (void)state;
    in_every_way(replace_it, "was replaced by another file");
}

static void deleted(void **state)
{
    (void)state;
    in_every_way(delete_it, "is gone");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncated),
        cmocka_unit_test(rewritten),
        cmocka_unit_test(replaced),
        cmocka_unit_test(deleted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
