#include "tests/support_packs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/file.h"

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
