#include "coordinator/serve/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/file.h"

#define FILE_BYTES_MAX (UINT64_C(1) << 20)

static int add(struct keys *k, const char *text, size_t bytes, struct error *e)
{
    char **more = realloc(k->key, (k->count + 1) * sizeof *more);

    if (more) k->key = more;
    if (!more || !(k->key[k->count] = strndup(text, bytes))) return error_set(e, ENOMEM, "out of memory");
    k->count++;
    return 0;
}

static int read_file(struct keys *k, const char *path, struct error *e)
{
    size_t had = k->count;
    uint64_t bytes;
    char *text, *at;
    int rc = file_load(&text, &bytes, path, FILE_BYTES_MAX, e);

    if (rc) return error_prefix(e, "--api-key-file");
    for (at = text; !rc && at < text + bytes;) {
        size_t line = strcspn(at, "\n"), n = line;

        while (n && strchr(" \t\r", at[n - 1])) n--;
        if (n && at[0] != '#') rc = add(k, at, n, e);
        at += line + 1;
    }
    explicit_bzero(text, bytes);
    free(text);
    if (!rc && k->count == had) rc = error_set(e, EINVAL, "--api-key-file %s holds no key: one a line is needed", path);
    return rc;
}

int keys_read(struct keys *k, const struct options *o, struct error *e)
{
    int rc = 0;

    for (size_t i = 0; i < o->api_keys && !rc; i++) rc = add(k, o->api_key[i], strlen(o->api_key[i]), e);
    return rc || !o->api_key_file ? rc : read_file(k, o->api_key_file, e);
}

void keys_free(struct keys *k)
{
    for (size_t i = 0; i < k->count; i++) free(k->key[i]);
    free(k->key);
    *k = (struct keys){0};
}
