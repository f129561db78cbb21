#include "tests/support_verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support_model.h"

struct process_result verify_last;

json_t *verify_with(const char *const *arg, int status, int line)
{
    json_error_t why;
    json_t *o;

    process_result_free(&verify_last);
    verify_last = process_run("sluice", arg, NULL, 0, VERIFY_SECONDS);
    if (verify_last.status != status)
        fail_msg("line %d: exit %d, not %d: %s%s", line, verify_last.status, status, verify_last.err, verify_last.out);
    o = json_loads(verify_last.out, 0, &why);
    if (!o) fail_msg("line %d: no JSON: %s: %s", line, why.text, verify_last.out);
    assert_int_equal(json_is_true(json_object_get(o, "ok")), status == 0);
    return o;
}

const char *verify_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

/* The one finding, of this kind, that says so. The caller's. */
json_t *verify_only(json_t *report, const char *kind, const char *says, int line)
{
    json_t *list = json_object_get(report, "findings"), *f = json_array_get(list, 0);

    if (json_array_size(list) != 1)
        fail_msg("line %d: %zu findings, not one: %s", line, json_array_size(list), verify_last.out);
    if (strcmp(verify_text(f, "kind"), kind) || !strstr(verify_text(f, "text"), says))
        fail_msg("line %d: a finding of kind %s that says '%s' was expected: %s", line, kind, says, verify_last.out);
    json_incref(f);
    json_decref(report);
    return f;
}

void verify_clean(const char *folder, int line)
{
    json_decref(verify_with((const char *const[]){"verify", "--json", folder, NULL}, 0, line));
}

void file_append(const char *folder, const char *name, const char *text)
{
    FILE *f = fopen(scratch_path(folder, name), "ab");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
}

void file_patch(const char *folder, const char *name, uint64_t offset, const void *bytes, size_t n)
{
    int fd = open(scratch_path(folder, name), O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)offset), n);
    close(fd);
}

/* Changes text within a file's header to another of the same length. */
void file_patch_text(const char *folder, const char *name, const char *from, const char *to)
{
    char *text = calloc(1, 1 << 20), *at;
    FILE *f = fopen(scratch_path(folder, name), "rb");
    size_t n;

    assert_non_null(text);
    assert_non_null(f);
    n = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    assert_int_equal(strlen(from), strlen(to));
    at = memmem(text, n, from, strlen(from));
    assert_non_null(at);
    file_patch(folder, name, (uint64_t)(at - text), to, strlen(to));
    free(text);
}

struct tensor tensor_in(const char *folder, const char *name)
{
    static uint64_t shape[8];
    struct tensors *t;
    const struct tensor *x;
    struct tensor out;

    assert_int_equal(tensors_open(&t, folder, NULL, NULL), 0);
    x = tensors_find(t, name);
    assert_non_null(x);
    out = *x;
    memcpy(shape, x->shape, x->dims * sizeof *shape);
    out.shape = shape;
    out.name = name;
    tensors_close(t);
    return out;
}

void verify_sum_of(const char *folder, const char *name, char hex[65])
{
    json_t *o = VERIFY(0, folder), *files = json_object_get(o, "files"), *x;
    size_t i;

    hex[0] = 0;
    json_array_foreach(files, i, x) if (!strcmp(verify_text(x, "name"), name))
        snprintf(hex, 65, "%s", verify_text(x, "sha256"));
    assert_int_equal(strlen(hex), 64);
    json_decref(o);
}
