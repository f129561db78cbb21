#include "tests/support_packs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/file.h"
#include "tests/support_model.h"

#define DEMO "tests/data/demo-model"

void packs_load(char **bytes, uint64_t *n, const char *path)
{
    struct error e = {0};

    if (file_load(bytes, n, path, UINT64_MAX, &e)) fail_msg("%s", e.text);
}

void packs_store(const char *path, const char *bytes, uint64_t n)
{
    FILE *f = fopen(path, "wbe");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

void packs_assert_same(const char *a, const char *b)
{
    char *x, *y;
    uint64_t n, m;

    packs_load(&x, &n, a);
    packs_load(&y, &m, b);
    if (n != m || memcmp(x, y, n)) fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

char *packs_within(const char *folder, const char *name)
{
    static char path[8][512];
    static unsigned next;
    char *p = path[next++ % 8];

    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

void packs_copy(const char *from, const char *to)
{
    uint64_t n;
    char *bytes;

    packs_load(&bytes, &n, from);
    packs_store(to, bytes, n);
    free(bytes);
}

void packs_flip(const char *path, uint64_t at)
{
    uint64_t n;
    char *bytes;

    packs_load(&bytes, &n, path);
    assert_true(at < n);
    bytes[at] ^= 0x10;
    packs_store(path, bytes, n);
    free(bytes);
}

struct pack_options packs_options(const char *out, uint32_t unit_bytes)
{
    return (struct pack_options){.out = out, .threads = 2, .memory = UINT64_MAX, .unit_bytes = unit_bytes};
}

int packs_try(const char *folder, const struct pack_options *o, struct pack_result *r, struct error *e)
{
    struct source *s;
    int rc = source_open(&s, folder, e);

    if (rc) return rc;
    rc = pack_folder(s, o, r, e);
    source_close(s);
    return rc;
}

void packs_make(const char *folder, const char *out, uint32_t unit_bytes)
{
    struct pack_options o = packs_options(out, unit_bytes);
    struct pack_result r;
    struct error e = {0};

    if (packs_try(folder, &o, &r, &e)) fail_msg("%s", e.text);
}

int packs_unpack(const char *folder, const char *out, struct error *e)
{
    struct pack_options o = packs_options(out, 0);
    struct pack_result r;
    struct source *s;
    int rc = source_open(&s, folder, e);

    if (rc) return rc;
    rc = unpack_folder(s, &o, &r, e);
    source_close(s);
    return rc;
}

struct process_result packs_last;

int packs_sluice(const char *const *arg)
{
    process_result_free(&packs_last);
    packs_last = process_run("sluice", arg, NULL, 0, PACKS_SECONDS);
    return packs_last.status;
}
void packs_assert_told(int status, const char *text)
{
    assert_int_equal(status, 1);
    if (!strstr(packs_last.err, text)) fail_msg("\"%s\" is not in: %s%s", text, packs_last.err, packs_last.out);
    assert_true(strchr(packs_last.err, '\n') == packs_last.err + strlen(packs_last.err) - 1);
}

void packs_assert_found(int status, const char *text)
{
    assert_int_equal(status, 1);
    if (!strstr(packs_last.out, text)) fail_msg("\"%s\" is not in: %s%s", text, packs_last.err, packs_last.out);
    assert_non_null(strstr(packs_last.err, "wrong with it"));
    assert_true(strchr(packs_last.err, '\n') == packs_last.err + strlen(packs_last.err) - 1);
}

char *packs_demo(void)
{
    static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    char *folder = scratch_make();

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        packs_copy(packs_within(DEMO, names[i]), packs_within(folder, names[i]));
    return folder;
}
