/* Files that commands write: never in the place of one that they read, whole or not at all, and past no link. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/output.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_temporary.h"
#include "tests/support_terminal.h"

#define DEMO    "tests/data/demo-model"
#define SECONDS 60
#define OLD     "what was there before\n"

static char *model, *place; /* a copy of the demo model, and a folder beside it */

/* Paths made by in(): a few live at once. */
static const char *in(const char *folder, const char *name)
{
    static char ring[16][1024];
    static int next;
    char *p = ring[next++ % 16];

    snprintf(p, sizeof ring[0], "%s/%s", folder, name);
    return p;
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "re");
    char *text = NULL, buffer[4096];
    size_t n;
    FILE *m = open_memstream(&text, bytes);

    assert_non_null(f);
    assert_non_null(m);
    while ((n = fread(buffer, 1, sizeof buffer, f))) fwrite(buffer, 1, n, m);
    fclose(f);
    fclose(m);
    return text;
}

static void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static void expect_text(const char *path, const char *text)
{
    size_t n;
    char *have = read_file(path, &n);

    if (n != strlen(text) || memcmp(have, text, n)) fail_msg("%s: '%.*s'", path, (int)n, have);
    free(have);
}

static int entries(const char *folder)
{
    DIR *d = opendir(folder);
    int n = 0;

    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static int setup(void **state)
{
    static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};

    (void)state;
    model = scratch_make();
    place = scratch_make();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n;
        char *bytes;

        if (access(in(DEMO, names[i]), R_OK)) continue;
        bytes = read_file(in(DEMO, names[i]), &n);
        write_file(in(model, names[i]), bytes, n);
        free(bytes);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(model);
    scratch_remove(place);
    return 0;
}

#define RUN(text, ...) process_run("sluice", (const char *const[]){__VA_ARGS__, NULL}, text, strlen(text), SECONDS)

/* ---- an output that is an input ---- */

enum command { LOGITS_OUT, LOGITS_TRACE, RUN_TRACE, CHAT_TRACE, CHAT_SAVE, VERIFY_OUT, TRACE_SVG, COMMANDS };

/* Lines are commands at a terminal only, and what goes wrong there does not end the chat: it is told, as a process would. */
static struct process_result save_in_chat(const char *path)
{
    struct terminal t =
        terminal_start("sluice", (const char *const[]){"chat", model, "-n", "1", "-q", "--context", "64", NULL},
                       (const char *const[]){"XDG_STATE_HOME=/dev/null", NULL}); /* no history is kept */
    struct process_result r = {0};
    char save[1100];

    terminal_wait(&t, "> ");
    snprintf(save, sizeof save, "/save %s\n", path);
    terminal_type(&t, save);
    terminal_wait(&t, "\n> ");
    r.status = !strstr(t.text, "messages written to");
    r.err = strdup(t.text);
    terminal_type(&t, "\004");
    assert_int_equal(terminal_end(&t), 0);
    return r;
}

static struct process_result write_with(enum command c, const char *path)
{
    switch (c) {
    case LOGITS_OUT: return RUN("", "logits", model, "--tokens", "1 2", "--out", path, "--context", "64");
    case LOGITS_TRACE:
        return RUN("", "logits", model, "--tokens", "1 2", "--out", "/dev/null", "--trace", path, "--context", "64");
    case RUN_TRACE: return RUN("", "run", model, "-p", "Once", "-n", "1", "--trace", path, "--context", "64");
    case CHAT_TRACE: return RUN("hello\n", "chat", model, "-n", "1", "--trace", path, "--context", "64");
    case CHAT_SAVE: return save_in_chat(path);
    case VERIFY_OUT: return RUN("", "verify", model, "--out", path);
    default: return RUN("", "trace", path, "--svg", path);
    }
}

static void expect_refused(enum command c, const char *path, const char *says)
{
    struct process_result r = write_with(c, path);

    if (r.status != 1 || !strstr(r.err, path) || !strstr(r.err, says))
        fail_msg("command %d, %s: exit %d: %s", (int)c, path, r.status, r.err);
    process_result_free(&r);
}

static void file_of_the_model(void **state)
{
    static const char *const names[] = {"model.safetensors", "config.json", "tokenizer.json"};
    char *was[3];
    size_t bytes[3];
    int had = entries(model);

    (void)state;
    for (int i = 0; i < 3; i++) was[i] = read_file(in(model, names[i]), &bytes[i]);
    assert_int_equal(symlink(in(model, "model.safetensors"), in(place, "a link")), 0);
    assert_int_equal(link(in(model, "model.safetensors"), in(place, "another name")), 0);
    assert_int_equal(symlink(model, in(place, "folder")), 0);
    for (enum command c = 0; c < TRACE_SVG; c++) {
        expect_refused(c, in(model, names[c % 3]), "of the model");
        expect_refused(c, in(place, "a link"), "of the model");
        expect_refused(c, in(place, "another name"), "model.safetensors, which is a file of the model");
        expect_refused(c, in(place, "folder/config.json"), "of the model");
    }
    /* one that is not there yet would be one of them */
    expect_refused(LOGITS_OUT, in(model, "model-00002-of-00002.safetensors"), "would become part of the model");
    expect_refused(VERIFY_OUT, in(place, "folder/SHA256SUMS"), "would become part of the model");
    for (int i = 0; i < 3; i++) {
        size_t n;
        char *now = read_file(in(model, names[i]), &n);

        assert_int_equal(n, bytes[i]);
        assert_memory_equal(now, was[i], n);
        free(now);
        free(was[i]);
    }
    assert_int_equal(entries(model), had);
    assert_int_equal(unlink(in(place, "a link")), 0);
    assert_int_equal(unlink(in(place, "another name")), 0);
    assert_int_equal(unlink(in(place, "folder")), 0);
}

static void other_inputs(void **state)
{
    const char *prompt = in(place, "prompt.txt"), *trace = in(place, "t.json"), *sums = in(place, "sums");
    struct process_result r;

    (void)state;
    write_file(prompt, "Once upon", 9);
    r = RUN("", "run", model, "-f", prompt, "-n", "1", "--trace", prompt, "--context", "64");
    if (r.status != 1 || !strstr(r.err, "read by this command")) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    r = RUN("", "run", model, "--prompts", prompt, "-n", "1", "--trace", prompt, "--context", "64");
    if (r.status != 1 || !strstr(r.err, "read by this command")) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    expect_text(prompt, "Once upon");

    r = write_with(RUN_TRACE, trace);
    assert_int_equal(r.status, 0);
    process_result_free(&r);
    expect_refused(TRACE_SVG, trace, "read by this command");

    r = write_with(VERIFY_OUT, sums);
    if (r.status) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    r = RUN("", "verify", model, "--baseline", sums, "--out", sums);
    if (r.status != 1 || !strstr(r.err, "read by this command")) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    r = RUN("", "logits", model, "--tokens", "1", "--out", in(place, "both"), "--trace", in(place, "both"));
    if (r.status != 1 || !strstr(r.err, "same file")) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    assert_int_equal(unlink(prompt) | unlink(trace) | unlink(sums), 0);
    assert_int_equal(entries(place), 2);
}

/* ---- links, and names that seem free ---- */

static void expect_works(enum command c, const char *path)
{
    struct process_result r = write_with(c, path);

    if (r.status) fail_msg("command %d, %s: exit %d: %s", (int)c, path, r.status, r.err);
    process_result_free(&r);
}

static void links_and_neighbours(void **state)
{
    static const enum command each[] = {LOGITS_OUT, RUN_TRACE, CHAT_SAVE, VERIFY_OUT};
    const char *target = in(place, "target"), *link_ = in(place, "link"), *nowhere = in(place, "nowhere"),
               *new_ = in(place, "out.new"), *out = in(place, "out"), *temporary = in(place, "other.new");
    struct stat st;

    (void)state;
    write_file(target, OLD, strlen(OLD));
    write_file(new_, OLD, strlen(OLD));
    assert_int_equal(symlink(target, link_), 0);
    assert_int_equal(symlink(in(place, "absent"), nowhere), 0);
    assert_int_equal(symlink(target, temporary), 0);
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        expect_refused(each[i], link_, "is a link");
        expect_refused(each[i], nowhere, "is a link");
        expect_works(each[i], out);
        expect_works(each[i], out); /* in the place of what it has written */
        expect_works(each[i], in(place, "other"));
        assert_int_equal(unlink(in(place, "other")), 0);
    }
    expect_text(target, OLD);
    expect_text(new_, OLD);
    assert_int_equal(lstat(link_, &st) || !S_ISLNK(st.st_mode), 0);
    assert_int_equal(lstat(temporary, &st) || !S_ISLNK(st.st_mode), 0);
    assert_int_equal(access(in(place, "absent"), F_OK), -1);
    assert_int_equal(entries(place), 2 + 6);
    assert_int_equal(unlink(target) | unlink(link_) | unlink(nowhere) | unlink(new_) | unlink(out) | unlink(temporary),
                     0);
}

/* ---- what is no file ---- */

static void devices_and_pipes(void **state)
{
    struct process_result r = RUN("", "logits", model, "--tokens", "1 2", "--out", "/dev/stdout", "--context", "64");
    const char *fifo = in(place, "fifo"), *file = in(place, "file");
    char command[2400], byte[256];
    struct process p;
    ssize_t n = 0, got;
    int fd;

    (void)state;
    assert_int_equal(r.status, 0);
    assert_true(r.out_bytes > 8 && r.out_bytes % 8 == 0); /* two positions, and nothing else */
    process_result_free(&r);
    expect_works(LOGITS_OUT, "/dev/null");
    expect_works(VERIFY_OUT, "/dev/stderr");
    expect_works(RUN_TRACE, "/dev/fd/1");
    for (enum command c = 0; c < TRACE_SVG; c++) {
        r = write_with(c, "/dev/full");
        if (r.status != 1 || !strstr(r.err, "space left")) fail_msg("command %d: exit %d: %s", (int)c, r.status, r.err);
        process_result_free(&r);
    }
    expect_refused(LOGITS_OUT, place, "it is a folder");

    assert_int_equal(mkfifo(fifo, 0600), 0);
    fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    p = process_start("sluice", (const char *const[]){"verify", model, "--out", fifo, NULL});
    r = process_finish(&p, NULL, 0, SECONDS);
    assert_int_equal(r.status, 0);
    process_result_free(&r);
    while ((got = read(fd, byte, sizeof byte)) > 0) n += got;
    close(fd);
    assert_true(n > 64);

    /* standard output that leads into a file goes on where it is, and cuts nothing off */
    snprintf(command, sizeof command, "echo before > '%s'; '%s/sluice' verify '%s' --out /dev/stdout -q >> '%s'", file,
             process_build(), model, file);
    assert_int_equal(system(command), 0);
    {
        size_t bytes;
        char *text = read_file(file, &bytes);

        assert_int_equal(strncmp(text, "before\n", 7), 0);
        assert_non_null(strstr(text, "model.safetensors"));
        free(text);
    }
    assert_int_equal(unlink(fifo) | unlink(file), 0);
    assert_int_equal(entries(place), 2);
}

/* ---- a disk that is full ---- */

/* With a limit on the size of files: the signal ends it, or it is told; the old file stays, and nothing lies beside it. */
static void old_file_stays(const char *preload)
{
    const char *out = in(place, "logits.bin");
    char command[2400];

    write_file(out, OLD, strlen(OLD));
    write_file(in(place, "err"), "", 0);
    for (int ignored = 0; ignored < 2; ignored++) {
        int had = entries(place);

        snprintf(command, sizeof command,
                 "%s ulimit -f 8; LD_PRELOAD='%s' '%s/sluice' logits '%s' --tokens '1 2 3 4 5 6 7 8' --out '%s' "
                 "--context 64 2>'%s/err'",
                 ignored ? "trap '' XFSZ;" : "", preload, process_build(), model, out, place);
        assert_int_not_equal(system(command), 0);
        expect_text(out, OLD);
        if (ignored || !*preload) assert_int_equal(entries(place), had); /* a signal leaves what has a name */
    }
    assert_int_equal(unlink(out) | unlink(in(place, "err")), 0);
}

static void limit_on_size(void **state)
{
    (void)state;
    old_file_stays("");
}

/* ---- the helper itself ---- */

static int put(const char *path, const char *text, bool good, struct error *e)
{
    struct output *o;
    int rc = output_open(&o, path, NULL, e);

    if (rc) return rc;
    fputs(text, output_file(o));
    return output_close(o, good, e);
}

static void modes(void **state)
{
    const char *path = in(place, "mode");
    mode_t mask = umask(027);
    struct error e = {0};
    struct stat st;

    (void)state;
    assert_int_equal(put(path, "one", true, &e), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(chmod(path, 0604), 0);
    assert_int_equal(put(path, "two", true, &e), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0604);
    assert_int_equal(put(path, "three", false, &e), 0); /* thrown away */
    expect_text(path, "two");
    umask(mask);
    if (geteuid()) { /* what may not be written to is not replaced either */
        assert_int_equal(chmod(path, 0444), 0);
        assert_int_equal(put(path, "four", true, &e), -EACCES);
        expect_text(path, "two");
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(put(in(place, "no/such/folder"), "", true, &e), -ENOENT);
    assert_int_equal(put(in(place, ""), "", true, &e), -EISDIR);
    assert_int_equal(entries(place), 2);
}

/* Where a file cannot be made without a name it gets one of its own, which goes away again. */
static void without_unnamed_files(void **state)
{
    char preload[1024];
    struct process_result r;
    const char *out = in(place, "out");

    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skipped: the sanitizer wants to be loaded first\n");
    skip();
#endif
    snprintf(preload, sizeof preload, "%s/tests/no_tmpfile.so", process_build());
    setenv("LD_PRELOAD", preload, 1);
    r = write_with(VERIFY_OUT, out);
    unsetenv("LD_PRELOAD");
    assert_int_equal(r.status, 0);
    process_result_free(&r);
    assert_int_equal(entries(place), 2 + 1);
    assert_int_equal(unlink(out), 0);
    setenv("LD_PRELOAD", preload, 1);
    r = write_with(LOGITS_OUT, in(model, "config.json"));
    unsetenv("LD_PRELOAD");
    assert_int_equal(r.status, 1);
    process_result_free(&r);
    old_file_stays(preload);
    temporary_remove(place);
    assert_int_equal(mkdir(place, 0700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_of_the_model),     cmocka_unit_test(other_inputs),
        cmocka_unit_test(links_and_neighbours),  cmocka_unit_test(devices_and_pipes),
        cmocka_unit_test(limit_on_size),         cmocka_unit_test(modes),
        cmocka_unit_test(without_unnamed_files),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
