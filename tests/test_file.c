/* Files that others wrote: whatever lies under a name, opening it does not wait, and the message says what it is. What
 * stands in for a file that was not downloaded is told by its first bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "coordinator/text/mistaken.h"
#include "proto/base/file.h"
#include "tests/support_model.h"

static void expect(const char *path, int code, const char *words)
{
    struct error e = {0}, again = {0};
    struct stat st;
    char *text;
    uint64_t bytes;
    int fd = -1;
    FILE *f;

    alarm(10); /* a test that waits for a writer is killed */
    assert_int_equal(file_open(path, &fd, &st, &e), -code);
    assert_int_equal(file_check(path, NULL, &again), -code);
    assert_string_equal(e.text, again.text);
    assert_int_equal(file_load(&text, &bytes, path, 1 << 20, NULL), -code);
    assert_int_equal(mistaken_file(path, &again), -code);
    f = file_stream(path, &again);
    assert_null(f);
    assert_int_equal(again.code, code);
    alarm(0);
    if (!strstr(e.text, words) || !strstr(e.text, path)) fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void what_is_no_file(void **state)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char *folder = scratch_make();
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    expect(scratch_path(folder, "gone"), ENOENT, "No such file");
    expect(folder, EINVAL, "a folder");
    assert_int_equal(mkfifo(scratch_path(folder, "pipe"), 0666), 0);
    expect(scratch_path(folder, "pipe"), EINVAL, "a named pipe");
    expect("/dev/zero", EINVAL, "a device");
    snprintf(name.sun_path, sizeof name.sun_path, "%s", scratch_path(folder, "socket"));
    assert_int_equal(bind(s, (struct sockaddr *)&name, sizeof name), 0);
    expect(name.sun_path, EINVAL, "a socket");
    close(s);
    assert_int_equal(symlink("../blobs/0123", scratch_path(folder, "dangling")), 0);
    expect(scratch_path(folder, "dangling"), ENOLINK, "../blobs/0123");
    assert_int_equal(symlink("circle", scratch_path(folder, "circle")), 0);
    expect(scratch_path(folder, "circle"), ELOOP, "symbolic links");
    assert_int_equal(symlink("pipe", scratch_path(folder, "to-pipe")), 0);
    expect(scratch_path(folder, "to-pipe"), EINVAL, "a named pipe");
    scratch_remove(folder);
}

static void what_may_not_be_read(void **state)
{
    char *folder = scratch_make();
    uid_t me = geteuid();

    (void)state;
    scratch_write(folder, "secret", "text");
    assert_int_equal(chmod(scratch_path(folder, "secret"), 0), 0);
    assert_int_equal(chmod(folder, 0755), 0);
    if (!me) assert_int_equal(seteuid(65534), 0); /* root may read everything */
    expect(scratch_path(folder, "secret"), EACCES, "chmod a+r");
    if (!me) assert_int_equal(seteuid(me), 0);
    scratch_remove(folder);
}

static void what_is_a_file(void **state)
{
    char *folder = scratch_make(), *text = NULL, letters[3] = "";
    struct error e = {0};
    uint64_t bytes = 0;
    struct stat st;
    int fd;

    (void)state;
    scratch_write(folder, "file", "some text");
    assert_int_equal(symlink("file", scratch_path(folder, "link")), 0);
    assert_int_equal(file_load(&text, &bytes, scratch_path(folder, "link"), 9, &e), 0);
    assert_int_equal(bytes, 9);
    assert_string_equal(text, "some text");
    free(text);
    assert_int_equal(file_load(&text, &bytes, scratch_path(folder, "link"), 8, &e), -EFBIG);
    assert_non_null(strstr(e.text, "9 bytes"));
    assert_int_equal(file_open(scratch_path(folder, "file"), &fd, &st, &e), 0);
    assert_int_equal(st.st_size, 9);
    assert_int_equal(file_read_at(fd, letters, 2, 5), 0);
    assert_string_equal(letters, "te");
    assert_int_equal(file_read_at(fd, letters, 2, 8), -EIO);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    scratch_remove(folder);
}

static void what_stands_in_for_it(void **state)
{
    static const struct {
        const char *head;
        size_t bytes;
        const char *says; /* NULL: nothing is said */
    } cases[] = {
#define HEAD(s) s, sizeof s - 1
        {HEAD(""), "is empty"},
        {HEAD("\0\0\0\0\0\0\0\0\0\0\0\0"), "begins with zeros"},
        {HEAD("<html>Access to this model is restricted</html>"), "an HTML page"},
        {HEAD("\xef\xbb\xbf\r\n <!DOCTYPE HTML PUBLIC>"), "an HTML page"},
        {HEAD("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>"), "AccessDenied"},
        {HEAD("{\"error\":\"Repository\033[2J not found\"}"), "Repository?[2J not found"},
        {HEAD("Entry not found"), "\"Entry not found\""},
        {HEAD("Access to model o/n is restricted.\nsecond line"), "is restricted.\""},
        {HEAD("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"), "12345 bytes"},
        {HEAD("GGUF\3\0\0\0"), "a GGUF file"},
        {HEAD("ggjt\3\0\0\0"), "GGML"},
        {HEAD("PK\3\4archive/data.pkl"), "zip archive"},
        {HEAD("\x80\2}q\0"), "pickle"},
        {HEAD("\x89HDF\r\n\x1a\n"), "HDF5"},
        {HEAD("\x1f\x8b\x08"), "gzip"},
        {HEAD("{}"), NULL},
        {HEAD("{\"architectures\":[\"LlamaForCausalLM\"]}"), NULL},
        {HEAD("\x40\0\0\0\0\0\0\0{\"a\":"), NULL},
        {HEAD("IQ== 0\nIg== 1\n"), NULL},
        {HEAD("\0"), NULL},
    };
    char *folder = scratch_make(), path[200], tar[600] = "name";

    (void)state;
    snprintf(path, sizeof path, "%s", scratch_path(folder, "model.safetensors"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e = {0};
        FILE *f = fopen(path, "wb");
        int rc;

        assert_non_null(f);
        fwrite(cases[i].head, 1, cases[i].bytes, f);
        fclose(f);
        rc = mistaken_file(path, &e);
        if (!cases[i].says != !rc) fail_msg("case %zu: %d, %s", i, rc, e.text);
        if (rc && (!strstr(e.text, cases[i].says) || !strstr(e.text, path))) fail_msg("case %zu: %s", i, e.text);
        assert_null(strchr(e.text, '\033'));
        assert_null(strchr(e.text, '\n'));
    }
    memcpy(tar + 257, "ustar", 5);
    assert_int_equal(mistaken_look(path, tar, sizeof tar, 10240, NULL), -EINVAL);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_file),
        cmocka_unit_test(what_may_not_be_read),
        cmocka_unit_test(what_is_a_file),
        cmocka_unit_test(what_stands_in_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
