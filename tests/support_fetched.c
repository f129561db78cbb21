#include "tests/support_fetched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

/* tests/run.sh gives tests a cache of their own, and says where that of the user is. */
char *fetched_path(const char *name)
{
    const char *folder = getenv("SLUICE_FETCHED"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    int n;

    if (folder)
        n = asprintf(&path, "%s/%s", folder, name);
    else if (cache && *cache)
        n = asprintf(&path, "%s/sluice-tests/%s", cache, name);
    else
        n = asprintf(&path, "%s/.cache/sluice-tests/%s", home ? home : "", name);
    assert_true(n > 0);
    if (!access(path, R_OK)) return path;
    print_message("skipped: files are missing that tests/fetch_models.sh fetches\n");
    free(path);
    return NULL;
}
