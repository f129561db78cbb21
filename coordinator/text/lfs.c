#include "coordinator/text/lfs.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/base/file.h"

static const char first_line[] = "version https://git-lfs.github.com/spec/";

bool lfs_pointer_parse(struct lfs_pointer *p, const char *text, size_t bytes)
{
    char copy[LFS_POINTER_BYTES + 1];
    const char *oid, *size;

    *p = (struct lfs_pointer){0};
    if (bytes > LFS_POINTER_BYTES || bytes < sizeof first_line - 1 || memcmp(text, first_line, sizeof first_line - 1))
        return false;
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    oid = strstr(copy, "\noid sha256:");
    size = strstr(copy, "\nsize ");
    if (size) p->bytes = strtoull(size + 6, NULL, 10);
    for (int i = 0; oid && i < 64; i++) {
        if (!isxdigit((unsigned char)oid[12 + i])) {
            p->sha256[0] = 0;
            break;
        }
        p->sha256[i] = (char)tolower((unsigned char)oid[12 + i]);
    }
    return true;
}

bool lfs_pointer_read(struct lfs_pointer *p, const char *path)
{
    uint64_t bytes;
    char *text;
    bool is;

    if (file_load(&text, &bytes, path, LFS_POINTER_BYTES, NULL)) return false;
    is = lfs_pointer_parse(p, text, bytes);
    free(text);
    return is;
}

int lfs_pointer_error(struct error *e, const char *path, const struct lfs_pointer *p)
{
    return error_set(
        e, ENODATA,
        "%s: only a git LFS pointer lies there, the file itself (%llu bytes) was not downloaded: run `git lfs pull` in "
        "the folder, or download the file",
        path, (unsigned long long)p->bytes);
}
