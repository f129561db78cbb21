#include "tests/support_temporary.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

bool temporary_make(char path[TEMPORARY_BYTES], const char *base)
{
    const char *tmp = getenv("TMPDIR");

    if (!base) base = tmp && *tmp ? tmp : "/tmp";
    return snprintf(path, TEMPORARY_BYTES, "%s/sluice-test-XXXXXX", base) < TEMPORARY_BYTES && mkdtemp(path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    remove(path);
    return 0;
}

void temporary_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
