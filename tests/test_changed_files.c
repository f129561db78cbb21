/* A file of the model that changes under a run: noticed whether its tiles are streamed or were all pinned, read past the
 * page cache or from it, and named with what to do. A signal in place of a message (SIGBUS) would be a crash. So too in a
 * run's last moment, when nothing is read any more, and where the time of the last change was put back. A file whose inode
 * alone was changed (chmod, link) changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "coordinator/source/packed.h"
#include "tests/mkmodel.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_temporary.h"

#define LAYERS  6
#define TOKENS  1000 /* one a sweep: far more sweeps than the test waits for */
#define SECONDS 30
#define VOCAB   40000 /* a row of logits is longer than what a FIFO holds */
#define WEIGHTS "model.safetensors"

/* Some 130 MB that are holes: nothing is written to make it, and a sweep takes its time. */
static char *model_make(void)
{
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":512,"
        "\"intermediate_size\":2048,\"num_hidden_layers\":6,\"num_attention_heads\":8,"
        "\"num_key_value_heads\":8,\"vocab_size\":40000,\"max_position_embeddings\":4096,"
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
    fprintf(f,
            WEIGHTS "\tmodel.embed_tokens.weight\tBF16\t40000x512\tsparse\n" WEIGHTS
                    "\tlm_head.weight\tBF16\t40000x512\tsparse\n" WEIGHTS "\tmodel.norm.weight\tBF16\t512\tsparse\n");
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

/* ---- in the last moment ---- */

/* The offset that the text of a header, n bytes, has for a tensor. */
static uint64_t offset_in(const char *header, uint64_t n, const char *tensor)
{
    const char *at = strstr(header, tensor);
    uint64_t begin = 0;

    assert_non_null(at);
    at = strstr(at, "data_offsets");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "data_offsets\":[%lu", &begin), 1);
    return 8 + n + begin;
}

/* Where the bytes of a tensor begin in the file, as its header says it. */
static uint64_t offset_of(const char *path, const char *tensor)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t n = 0, begin;
    char *header;

    assert_true(fd >= 0);
    assert_int_equal(read(fd, &n, 8), 8);
    header = calloc(1, n + 1);
    assert_non_null(header);
    assert_int_equal(pread(fd, header, n, 8), n);
    close(fd);
    begin = offset_in(header, n, tensor);
    free(header);
    return begin;
}

static uint64_t touch_offset; /* where quietly() writes; set by the test that calls it */

static void write_bytes(const char *path, uint64_t offset, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)offset), n);
    close(fd);
}

/* Two bytes, and the time put back. */
static void quietly(const char *path)
{
    struct stat st;
    int fd;

    assert_int_equal(stat(path, &st), 0);
    write_bytes(path, touch_offset, "\x01\x02", 2);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(futimens(fd, (struct timespec[]){st.st_atim, st.st_mtim}), 0);
    close(fd);
}

/* The same in a packed file, where the embedding's row 8 lies. */
static void quietly_in_the_unit(const char *path)
{
    struct packed *p;
    const struct packed_segment *s;
    struct error e = {0};
    struct stat st;
    uint64_t raw;
    char *header;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && !fstat(fd, &st));
    if (packed_read(&p, path, fd, (uint64_t)st.st_size, &e)) fail_msg("%s", e.text);
    close(fd);
    header = strndup((const char *)p->header + 8, p->head.header_bytes - 8);
    assert_non_null(header);
    raw = offset_in(header, p->head.header_bytes - 8, "model.embed_tokens.weight");
    free(header);
    s = packed_find(p, raw);
    assert_true(s && s->unit_rows && s->rows == VOCAB);
    touch_offset = packed_unit(p, s, 8 / s->unit_rows) + 100;
    packed_close(p);
    quietly(path);
}

static void change_mode(const char *path)
{
    assert_int_equal(chmod(path, 0440), 0);
}

static void link_and_unlink(const char *path)
{
    char other[4096];

    snprintf(other, sizeof other, "%s.link", path);
    assert_int_equal(link(path, other), 0);
    assert_int_equal(unlink(other), 0);
}

static void same_time(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){st.st_atim, st.st_mtim}, 0), 0);
}

static void wait_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, SECONDS * 1000), 1);
}

/* Reads until the writer has closed it; returns how many bytes came. */
static size_t read_rest(int fd)
{
    static char buffer[1 << 16];
    size_t sum = 0;
    ssize_t n;

    do {
        wait_readable(fd);
        n = read(fd, buffer, sizeof buffer);
        if (n > 0) sum += (size_t)n;
    } while (n > 0 || (n < 0 && errno == EAGAIN));
    return sum;
}

static bool pack_first; /* at_the_end() runs what `sluice pack` makes of the model */

static const char *packed_of(const char *folder, const char *where)
{
    static char out[4096];
    struct process_result r;

    snprintf(out, sizeof out, "%s", scratch_path(where, "packed"));
    r = process_run("sluice", (const char *const[]){"pack", folder, out, "-q", NULL}, NULL, 0, SECONDS);
    if (r.status) fail_msg("%s", r.err);
    process_result_free(&r);
    return out;
}

/* The logits of one position go into a FIFO that does not hold them. When its first byte is there, all sweeps are done, the
 * process waits in a write, and what changes now changes after everything was read. words: what the error says; NULL: the
 * run must end well. */
static void at_the_end(void (*change)(const char *), const char *words, bool pinned, const char *io)
{
    char *folder = model_make(), path[4096], fifo[4096], byte;
    char *beside = pack_first ? scratch_make() : NULL;
    const char *model = beside ? packed_of(folder, beside) : folder;
    struct process_result r;
    struct process p;
    bool good;
    int fd;

    snprintf(path, sizeof path, "%.4000s/" WEIGHTS "%s", model, pack_first ? PACKED_SUFFIX : "");
    snprintf(fifo, sizeof fifo, "%s", scratch_path(folder, "logits.fifo"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    p = process_start("sluice", (const char *const[]){"logits", model, "--tokens", "7 8 9 10", "--positions", "3",
                                                      "--out", fifo, "--threads", "1", "--io", io, "--context", "64",
                                                      "--host-memory", pinned ? "600M" : "200M", NULL});
    wait_readable(fd);
    assert_int_equal(read(fd, &byte, 1), 1);
    change(path);
    assert_int_equal(read_rest(fd), VOCAB * sizeof(float) - 1);
    close(fd);
    r = process_finish(&p, NULL, 0, SECONDS);
    good = words ? r.status == 1 && strstr(r.err, words) && strstr(r.err, path) && strstr(r.err, "start again")
                 : r.status == 0;
    if (!good)
        fail_msg("%s, %s: exit %d; '%s' was expected: %s", pinned ? "pinned" : "streamed", io, r.status,
                 words ? words : "", r.err);
    process_result_free(&r);
    if (beside) {
        temporary_remove(model);
        scratch_remove(beside);
    }
    scratch_remove(folder);
}

static void in_the_last_moment(void **state)
{
    (void)state;
    at_the_end(truncate_it, "another size", false, "direct");
    at_the_end(rewrite_it, "was written to", false, "buffered");
    at_the_end(rewrite_it, "was written to", true, "auto");
    at_the_end(replace_it, "was replaced by another file", true, "auto");
    at_the_end(delete_it, "is gone", false, "buffered");
}

/* Of every kind of bytes: a matrix, the head, a norm, a row of the embedding that was used, the header. */
static void with_its_time_put_back(void **state)
{
    char *folder = model_make(), path[4096];
    uint64_t at[5];

    (void)state;
    snprintf(path, sizeof path, "%s", scratch_path(folder, WEIGHTS));
    at[0] = offset_of(path, "model.layers.3.mlp.up_proj.weight") + 4099;
    at[1] = offset_of(path, "lm_head.weight") + VOCAB * 1024 - 2;
    at[2] = offset_of(path, "model.layers.5.input_layernorm.weight") + 1022;
    at[3] = offset_of(path, "model.embed_tokens.weight") + 8 * 1024 + 512;
    at[4] = 9;
    scratch_remove(folder);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        touch_offset = at[i];
        at_the_end(quietly, "was written to", i % 2, i % 2 ? "auto" : i % 4 ? "buffered" : "direct");
    }
    touch_offset = at[0];
    at_the_end(quietly, "was written to", true, "auto");
}

static void inode_alone(void **state)
{
    (void)state;
    at_the_end(change_mode, NULL, false, "direct");
    at_the_end(change_mode, NULL, true, "auto");
    at_the_end(link_and_unlink, NULL, false, "buffered");
    at_the_end(same_time, NULL, true, "direct");
}

/* Rows of a packed embedding are compared as they are unpacked. */
static void packed_rows(void **state)
{
    (void)state;
    pack_first = true;
    at_the_end(change_mode, NULL, false, "direct");
    at_the_end(change_mode, NULL, true, "auto");
    at_the_end(quietly_in_the_unit, "was written to", false, "buffered");
    pack_first = false;
}

/* Written to while it is streamed, sweep after sweep, and not seen by its time: the end sees it. */
static void quietly_while_it_works(void **state)
{
    char *folder = model_make(), *tokens = NULL, path[4096];
    struct process_result r;
    struct process p;
    size_t bytes;
    FILE *f = open_memstream(&tokens, &bytes);

    (void)state;
    for (int i = 0; i < TOKENS; i++) fprintf(f, "%d ", i % 900);
    fclose(f);
    snprintf(path, sizeof path, "%s", scratch_path(folder, WEIGHTS));
    touch_offset = offset_of(path, "model.layers.2.self_attn.v_proj.weight");
    p = process_start("sluice", (const char *const[]){"logits", folder, "--tokens", tokens, "--positions", "999",
                                                      "--out", "/dev/null", "--chunk", "1", "--threads", "1",
                                                      "--context", "1024", "--host-memory", "200M", NULL});
    wait_until_it_works(p.pid);
    quietly(path);
    r = process_finish(&p, NULL, 0, SECONDS);
    if (r.status != 1 || !strstr(r.err, "was written to")) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    free(tokens);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncated),          cmocka_unit_test(rewritten),
        cmocka_unit_test(replaced),           cmocka_unit_test(deleted),
        cmocka_unit_test(in_the_last_moment), cmocka_unit_test(with_its_time_put_back),
        cmocka_unit_test(inode_alone),        cmocka_unit_test(quietly_while_it_works),
        cmocka_unit_test(packed_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
