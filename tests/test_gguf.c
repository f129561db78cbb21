/* Headers of GGUF files: what is right is read, what is wrong is named. */
#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "coordinator/source/gguf.h"
#include "tests/support_gguf.h"
#include "tests/support_model.h"

enum { F32 = 0, Q4_K = 12 };

static const uint64_t vector[1] = {8}, matrix[2] = {256, 3};

static void open_it(struct gguf **g, const char *folder, const char *name)
{
    struct error e = {0};

    if (gguf_open(g, scratch_path(folder, name), &e)) fail_msg("%s", e.text);
}

static void refuse(const char *folder, const char *name, const char *words)
{
    struct gguf *g = (struct gguf *)1;
    struct error e = {0};

    assert_true(gguf_open(&g, scratch_path(folder, name), &e) < 0);
    assert_null(g);
    if (!strstr(e.text, words)) fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    if (!strstr(e.text, folder)) fail_msg("\"%s\" does not name the file", e.text);
}

static void refuse_written(struct gguf_writer *w, const char *words)
{
    char *folder = scratch_make();

    gguf_write_file(w, folder, "a.gguf");
    refuse(folder, "a.gguf", words);
    scratch_remove(folder);
}

static void write_values(struct gguf_writer *w)
{
    static const char *const words[] = {"<unk>", "", "\xe2\x96\x81the"};
    static const uint32_t heads[] = {8, 4};

    gguf_write_begin(w);
    gguf_write_string(w, "general.architecture", "llama");
    gguf_write_u32(w, "a.u32", 4000000000u);
    gguf_write_u16(w, "a.u16", 65535);
    gguf_write_f32(w, "a.f32", 0.5);
    gguf_write_bool(w, "a.bool", 1);
    gguf_write_u32s(w, "a.heads", heads, 2);
    gguf_write_bools(w, "a.pattern", (const uint8_t *)"\1\0\1", 3);
    gguf_write_strings(w, "a.tokens", words, 3);
    gguf_write_key(w, "a.i8", GGUF_I8);
    gguf_put_number(&w->values, 0xff, 1);
    gguf_write_key(w, "a.i64", GGUF_I64);
    gguf_put_number(&w->values, (uint64_t)-5, 8);
    gguf_write_key(w, "a.u64", GGUF_U64);
    gguf_put_number(&w->values, UINT64_MAX, 8);
    gguf_write_key(w, "a.f64", GGUF_F64);
    gguf_put(&w->values, &(double){0.1}, 8);
    gguf_write_key(w, "a.none", GGUF_ARRAY);
    gguf_put_number(&w->values, GGUF_I32, 4);
    gguf_put_number(&w->values, 0, 8);
    gguf_write_key(w, "a.nul", GGUF_STRING);
    gguf_put_string(&w->values, "x\0y", 3);
}

static void values_have_their_types(void **state)
{
    char *folder = scratch_make();
    struct gguf_writer w;
    const struct gguf_value *v;
    struct error e = {0};
    const char *s;
    size_t bytes;
    uint64_t u;
    int64_t i;
    double d;
    bool b;
    struct gguf *g;

    (void)state;
    write_values(&w);
    gguf_write_file(&w, folder, "a.gguf");
    open_it(&g, folder, "a.gguf");
    assert_true(gguf_is(scratch_path(folder, "a.gguf")));
    assert_int_equal(g->value_count, 14);
    assert_int_equal(gguf_u64(g, "a.u32", &u, &e), 0);
    assert_int_equal(u, 4000000000u);
    assert_int_equal(gguf_u64(g, "a.u16", &u, &e), 0);
    assert_int_equal(u, 65535);
    assert_int_equal(gguf_u64(g, "a.u64", &u, &e), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(gguf_i64(g, "a.i8", &i, &e), 0);
    assert_int_equal(i, -1);
    assert_int_equal(gguf_i64(g, "a.i64", &i, &e), 0);
    assert_int_equal(i, -5);
    assert_int_equal(gguf_f64(g, "a.f32", &d, &e), 0);
    assert_true(d == 0.5);
    assert_int_equal(gguf_f64(g, "a.f64", &d, &e), 0);
    assert_true(d == 0.1);
    assert_int_equal(gguf_bool(g, "a.bool", &b, &e), 0);
    assert_true(b);
    assert_int_equal(gguf_string(g, "general.architecture", &s, &bytes, &e), 0);
    assert_string_equal(s, "llama");
    assert_int_equal(bytes, 5);
    assert_int_equal(gguf_string(g, "a.nul", &s, &bytes, &e), 0);
    assert_int_equal(bytes, 3);
    assert_memory_equal(s, "x\0y", 4);
    assert_int_equal(gguf_array(g, "a.tokens", GGUF_STRINGS, &v, &e), 0);
    assert_int_equal(v->count, 3);
    assert_string_equal(gguf_text(v, 0, NULL), "<unk>");
    assert_string_equal(gguf_text(v, 1, &bytes), "");
    assert_int_equal(bytes, 0);
    assert_string_equal(gguf_text(v, 2, &bytes), "\xe2\x96\x81the");
    assert_int_equal(bytes, 6);
    assert_int_equal(gguf_array(g, "a.heads", GGUF_INTS, &v, &e), 0);
    assert_int_equal(gguf_int(v, 1), 4);
    assert_int_equal(gguf_array(g, "a.pattern", GGUF_BOOLS, &v, &e), 0);
    assert_false(gguf_truth(v, 1));
    assert_true(gguf_truth(v, 2));
    assert_int_equal(gguf_array(g, "a.none", GGUF_INTS, &v, &e), 0);
    assert_int_equal(v->count, 0);
    assert_int_equal(e.code, 0);
    assert_int_equal(gguf_u64(g, "b", &u, &e), -ENOENT);
    assert_int_equal(e.code, 0);
    gguf_close(g);
    scratch_remove(folder);
}

static void wrong_types_are_named(void **state)
{
    char *folder = scratch_make();
    struct gguf_writer w;
    const struct gguf_value *v;
    struct error e = {0};
    const char *s;
    size_t bytes;
    uint64_t u;
    int64_t i;
    struct gguf *g;

    (void)state;
    write_values(&w);
    gguf_write_file(&w, folder, "a.gguf");
    open_it(&g, folder, "a.gguf");
    assert_int_equal(gguf_u64(g, "a.i64", &u, &e), -EINVAL);
    assert_non_null(strstr(e.text, "a.gguf: a.i64: -5 is less than 0"));
    e.code = 0;
    assert_int_equal(gguf_i64(g, "a.u64", &i, &e), -EINVAL);
    e.code = 0;
    assert_int_equal(gguf_u64(g, "a.f32", &u, &e), -EINVAL);
    assert_non_null(strstr(e.text, "a.f32: it is a value of type f32, and a whole number was expected"));
    e.code = 0;
    assert_int_equal(gguf_u64(g, "a.heads", &u, &e), -EINVAL);
    assert_non_null(strstr(e.text, "an array of type u32"));
    e.code = 0;
    assert_int_equal(gguf_string(g, "a.u32", &s, &bytes, &e), -EINVAL);
    e.code = 0;
    assert_int_equal(gguf_array(g, "a.tokens", GGUF_INTS, &v, &e), -EINVAL);
    e.code = 0;
    assert_int_equal(gguf_array(g, "a.u32", GGUF_INTS, &v, &e), -EINVAL);
    gguf_close(g);
    scratch_remove(folder);
}

static void tensors_have_their_places(void **state)
{
    char *folder = scratch_make();
    const struct gguf_tensor *t;
    struct gguf_writer w;
    struct gguf *g;

    (void)state;
    write_values(&w);
    w.alignment = 64;
    gguf_write_u32(&w, "general.alignment", 64);
    gguf_write_tensor(&w, "first", F32, vector, 1, NULL, 32);
    gguf_write_tensor(&w, "a", Q4_K, matrix, 2, NULL, 432);
    gguf_write_tensor(&w, "scalar", F32, NULL, 0, NULL, 4);
    gguf_write_file(&w, folder, "a.gguf");
    open_it(&g, folder, "a.gguf");
    assert_int_equal(g->tensor_count, 3);
    t = gguf_tensor(g, "first");
    assert_int_equal(t->offset % 64, 0);
    assert_int_equal(t->offset, g->files[0].data_offset);
    t = gguf_tensor(g, "a");
    assert_int_equal(t->offset, g->files[0].data_offset + 64);
    assert_int_equal(t->bytes, 432);
    assert_int_equal(t->dims[0], 256);
    assert_int_equal(t->dims[1], 3);
    assert_int_equal(t->dims[2], 1);
    assert_int_equal(gguf_tensor(g, "scalar")->bytes, 4);
    assert_null(gguf_tensor(g, "b"));
    assert_int_equal(g->files[0].missing_bytes, 0);
    assert_int_equal(g->files[0].gap_bytes, 0);
    gguf_close(g);
    scratch_remove(folder);
}

/* What a header of any length begins with, cut anywhere: an error that says so; and data cut anywhere is none. */
static void cut_files_are_told(void **state)
{
    char *folder = scratch_make();
    struct gguf_writer w;
    struct gguf *g;
    struct stat st;
    uint64_t header;

    (void)state;
    write_values(&w);
    gguf_write_tensor(&w, "first", F32, vector, 1, NULL, 32);
    gguf_write_tensor(&w, "a", Q4_K, matrix, 2, NULL, 432);
    gguf_write_file(&w, folder, "a.gguf");
    open_it(&g, folder, "a.gguf");
    header = g->files[0].header_bytes;
    gguf_close(g);
    assert_int_equal(stat(scratch_path(folder, "a.gguf"), &st), 0);
    assert_int_equal(truncate(scratch_path(folder, "a.gguf"), st.st_size - 400), 0);
    open_it(&g, folder, "a.gguf");
    assert_int_equal(g->files[0].missing_bytes, 400);
    gguf_close(g);
    for (uint64_t n = header; n-- > 0;) {
        struct error e = {0};

        assert_int_equal(truncate(scratch_path(folder, "a.gguf"), (off_t)n), 0);
        assert_int_equal(gguf_open(&g, scratch_path(folder, "a.gguf"), &e), -EINVAL);
        assert_null(g);
        assert_true(strlen(e.text) > 20);
    }
    scratch_remove(folder);
}

static void damage_is_named(void **state)
{
    static const uint64_t odd[2] = {255, 3}, huge[4] = {1u << 30, 1u << 30, 1u << 30, 1}, five[5] = {1, 1, 1, 1, 1};
    struct gguf_writer w;

    (void)state;
    gguf_write_begin(&w);
    w.version = 1;
    refuse_written(&w, "GGUF version 1 of 2023");
    gguf_write_begin(&w);
    w.version = 4;
    refuse_written(&w, "GGUF version 4 is not known");
    gguf_write_begin(&w);
    w.version = 3u << 24;
    refuse_written(&w, "a big-endian GGUF file");
    gguf_write_begin(&w);
    w.tensor_count = 1;
    refuse_written(&w, "1 tensors are more than the file has room for");
    gguf_write_begin(&w);
    gguf_write_u32(&w, "a", 1);
    gguf_write_u32(&w, "a", 1);
    refuse_written(&w, "a stands in it twice");
    gguf_write_begin(&w);
    gguf_write_key(&w, "a", 99);
    refuse_written(&w, "a: its type 99");
    gguf_write_begin(&w);
    gguf_write_key(&w, "a", GGUF_ARRAY);
    gguf_put_number(&w.values, GGUF_ARRAY, 4);
    gguf_put_number(&w.values, 1, 8);
    refuse_written(&w, "an array inside of an array");
    gguf_write_begin(&w);
    gguf_write_key(&w, "a", GGUF_ARRAY);
    gguf_put_number(&w.values, GGUF_U64, 4);
    gguf_put_number(&w.values, UINT64_C(1) << 62, 8);
    refuse_written(&w, "elements are more than the file has room for");
    gguf_write_begin(&w);
    gguf_write_key(&w, "a", GGUF_STRING);
    gguf_put_number(&w.values, UINT64_MAX, 8);
    refuse_written(&w, "a string is longer than the file");
    gguf_write_begin(&w);
    gguf_write_u32(&w, "general.alignment", 24);
    refuse_written(&w, "general.alignment: no power of two");
    gguf_write_begin(&w);
    gguf_write_key(&w, "", GGUF_U8);
    gguf_put_number(&w.values, 0, 1);
    refuse_written(&w, "empty, too long or no text");
    gguf_write_begin(&w);
    gguf_write_tensor(&w, "x", Q4_K, odd, 2, NULL, 432);
    refuse_written(&w, "tensor x: a row is no whole number of blocks");
    gguf_write_begin(&w);
    gguf_write_tensor(&w, "x", F32, huge, 3, NULL, 4);
    refuse_written(&w, "tensor x: its dimensions are out of range");
    gguf_write_begin(&w);
    gguf_write_tensor(&w, "x", F32, five, 5, NULL, 4);
    refuse_written(&w, "tensor x: 5 dimensions");
    gguf_write_begin(&w);
    gguf_write_tensor(&w, "x", F32, vector, 1, NULL, 32);
    gguf_write_tensor(&w, "x", F32, vector, 1, NULL, 32);
    refuse_written(&w, "tensor x stands in it twice");
    gguf_write_begin(&w);
    gguf_write_tensor(&w, "x", F32, vector, 1, NULL, 32);
    w.data.bytes = 0; /* the next begins where this does */
    gguf_write_tensor(&w, "y", F32, vector, 1, NULL, 32);
    refuse_written(&w, "overlap");
    gguf_write_begin(&w);
    w.alignment = 8; /* not what the file says */
    gguf_write_tensor(&w, "x", F32, vector, 1, NULL, 8);
    gguf_write_tensor(&w, "y", F32, vector, 1, NULL, 32);
    refuse_written(&w, "tensor y: its offset is no multiple of general.alignment");
}

static void other_files_are_told(void **state)
{
    char *folder = scratch_make();

    (void)state;
    scratch_write(folder, "page.gguf", "<!doctype html><html>");
    refuse(folder, "page.gguf", "an HTML page lies there");
    scratch_write(folder, "other.gguf", "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    refuse(folder, "other.gguf", "it does not begin as a GGUF file does");
    scratch_write(folder, "empty.gguf", "");
    refuse(folder, "empty.gguf", "the file is empty");
    refuse(folder, "none.gguf", "No such file");
    assert_int_equal(mkfifo(scratch_path(folder, "pipe.gguf"), 0600), 0);
    refuse(folder, "pipe.gguf", "a named pipe");
    assert_false(gguf_is(scratch_path(folder, "pipe.gguf")));
    assert_false(gguf_is(scratch_path(folder, "empty.gguf")));
    scratch_remove(folder);
}

/* File no (from 1) of three, with a tensor of its own. */
static void write_part(const char *folder, unsigned no, unsigned says_no, unsigned says_count, const char *tensor)
{
    struct gguf_writer w;
    char name[64];

    gguf_write_begin(&w);
    if (no == 1) gguf_write_string(&w, "general.architecture", "llama");
    gguf_write_u16(&w, "split.no", says_no - 1);
    gguf_write_u16(&w, "split.count", says_count);
    gguf_write_u32(&w, "split.tensors.count", 2);
    if (tensor) gguf_write_tensor(&w, tensor, F32, vector, 1, NULL, 32);
    snprintf(name, sizeof name, "m-%05u-of-00003.gguf", no);
    gguf_write_file(&w, folder, name);
}

static void sets_are_found_by_any_file(void **state)
{
    char *folder = scratch_make();
    struct gguf *g;

    (void)state;
    write_part(folder, 1, 1, 3, NULL);
    write_part(folder, 2, 2, 3, "b");
    write_part(folder, 3, 3, 3, "a");
    for (unsigned i = 1; i <= 3; i++) {
        char name[64];

        snprintf(name, sizeof name, "m-%05u-of-00003.gguf", i);
        open_it(&g, folder, name);
        assert_int_equal(g->file_count, 3);
        assert_true(g->complete);
        assert_non_null(gguf_find(g, "general.architecture"));
        assert_int_equal(gguf_tensor(g, "a")->file, 2);
        assert_int_equal(gguf_tensor(g, "b")->file, 1);
        gguf_close(g);
    }
    unlink(scratch_path(folder, "m-00002-of-00003.gguf"));
    open_it(&g, folder, "m-00003-of-00003.gguf");
    assert_false(g->complete);
    assert_true(g->files[1].absent);
    assert_non_null(strstr(g->files[1].fault, "m-00002-of-00003.gguf: No such file"));
    assert_null(gguf_tensor(g, "b"));
    assert_non_null(gguf_tensor(g, "a"));
    gguf_close(g);
    unlink(scratch_path(folder, "m-00001-of-00003.gguf"));
    refuse(folder, "m-00003-of-00003.gguf", "one file of a set, whose first");
    scratch_remove(folder);
}

static void mixed_sets_are_told(void **state)
{
    char *folder = scratch_make();
    struct gguf *g;

    (void)state;
    write_part(folder, 1, 1, 3, "c");
    write_part(folder, 2, 2, 3, "b");
    write_part(folder, 3, 3, 3, "a");
    refuse(folder, "m-00001-of-00003.gguf", "split.tensors.count: 2, and the files of the set have 3");
    write_part(folder, 1, 1, 3, NULL);
    write_part(folder, 3, 3, 3, "b");
    refuse(folder, "m-00001-of-00003.gguf", "tensor b is in");
    write_part(folder, 3, 2, 3, "a");
    open_it(&g, folder, "m-00001-of-00003.gguf");
    assert_false(g->complete);
    assert_false(g->files[2].absent);
    assert_non_null(strstr(g->files[2].fault, "it says that it is file 2 of 3"));
    gguf_close(g);
    write_part(folder, 1, 1, 4, NULL);
    refuse(folder, "m-00001-of-00003.gguf", "file 1 of a set of 4, and its name does not say so");
    write_part(folder, 1, 3, 2, NULL);
    refuse(folder, "m-00001-of-00003.gguf", "2 files, of which this were number 3");
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_their_types),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(tensors_have_their_places),
        cmocka_unit_test(cut_files_are_told),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(other_files_are_told),
        cmocka_unit_test(sets_are_found_by_any_file),
        cmocka_unit_test(mixed_sets_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
