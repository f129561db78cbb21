#include "coordinator/hosts/hosts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cli/values.h"

#define LINE_BYTES 4096u

/* What a name may consist of: it becomes an argument of other programs. */
static bool is_name(const char *s, size_t n)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    return n && n < HOST_NAME && *s != '-' && *s != '.' && strspn(s, letters) >= n;
}

static int add(struct hosts *h, const char *name, size_t n, const char *where, struct error *e)
{
    struct host *more;

    if (!is_name(name, n))
        return error_set(e, EINVAL, "%s: \"%.*s\" is no name of a machine: letters, digits, dots and dashes, as a,b,c",
                         where, (int)(n < 64 ? n : 64), name);
    if (h->count == HOSTS_MOST) return error_set(e, EINVAL, "%s: more than %u machines", where, HOSTS_MOST);
    more = reallocarray(h->host, h->count + 1, sizeof *more);
    if (!more) return error_set(e, ENOMEM, "out of memory");
    h->host = more;
    more[h->count] = (struct host){.disk = 0};
    memcpy(more[h->count++].name, name, n);
    return 0;
}

static int read_list(struct hosts *h, const char *list, struct error *e)
{
    int rc = 0;

    for (const char *at = list;; at++) {
        size_t n = strcspn(at, ",");

        if ((rc = add(h, at, n, "--hosts", e))) return rc;
        at += n;
        if (!*at) return 0;
    }
}

static int set_rate(double *to, const char *value)
{
    uint64_t bytes;
    int rc = value_size(value, &bytes);

    if (!rc && !bytes) rc = -EINVAL;
    if (!rc) *to = (double)bytes;
    return rc;
}

/* One word behind a name. */
static int set(struct host *x, const char *word)
{
    const char *value = strchr(word, '=');
    size_t n = value ? (size_t)(value - word) : 0;

    if (!value) return -EINVAL;
    value++;
    if (n == 4 && !memcmp(word, "disk", n)) return set_rate(&x->disk, value);
    if (n == 7 && !memcmp(word, "compute", n)) return set_rate(&x->compute, value);
    if (n == 6 && !memcmp(word, "memory", n)) return value_size(value, &x->memory) || !x->memory ? -EINVAL : 0;
    if (n == 5 && !memcmp(word, "model", n)) {
        free(x->model);
        x->model = *value == '/' ? strdup(value) : NULL;
        return x->model ? 0 : -EINVAL;
    }
    if (n == 5 && !memcmp(word, "share", n))
        return value_real(value, &x->share) || !(x->share > 0) || x->share > 1e9 ? -EINVAL : 0;
    return -EINVAL;
}

static int read_line(struct hosts *h, char *line, const char *where, struct error *e)
{
    char *rest, *word;
    int rc;

    line[strcspn(line, "#\n")] = 0;
    word = strtok_r(line, " \t\r", &rest);
    if (!word) return 0;
    if ((rc = add(h, word, strlen(word), where, e))) return rc;
    while ((word = strtok_r(NULL, " \t\r", &rest)))
        if (set(&h->host[h->count - 1], word))
            return error_set(e, EINVAL,
                             "%s: \"%.80s\" is none of disk=2G, memory=12G, compute=34G (bytes, per second), "
                             "share=1.5 and model=/PATH",
                             where, word);
    return 0;
}

static int read_file(struct hosts *h, const char *path, struct error *e)
{
    FILE *f = fopen(path, "re");
    char line[LINE_BYTES], where[512];
    uint32_t number = 0;
    int rc = 0;

    if (!f) return error_set(e, errno, "--hosts @%s: %s", path, error_name(errno));
    while (!rc && fgets(line, sizeof line, f)) {
        snprintf(where, sizeof where, "%.400s: line %u", path, ++number);
        if (strlen(line) + 1 == sizeof line)
            rc = error_set(e, EINVAL, "%s has more than %u bytes", where, LINE_BYTES - 2);
        else
            rc = read_line(h, line, where, e);
    }
    if (!rc && ferror(f)) rc = error_set(e, EIO, "%s cannot be read to its end", path);
    fclose(f);
    if (!rc && !h->count) rc = error_set(e, EINVAL, "%s names no machine: one a line", path);
    return rc;
}

int hosts_open(struct hosts *h, const char *given, struct error *e)
{
    uint32_t with = 0;
    int rc;

    *h = (struct hosts){0};
    rc = *given == '@' ? read_file(h, given + 1, e) : read_list(h, given, e);
    for (uint32_t i = 0; !rc && i < h->count; i++) with += h->host[i].share > 0;
    h->shares = !rc && with;
    if (!rc && with && with != h->count)
        rc = error_set(e, EINVAL, "%s: %u of %u machines have a share=: give one to all or to none", given + 1, with,
                       h->count);
    return rc;
}

void hosts_close(struct hosts *h)
{
    for (uint32_t i = 0; i < h->count; i++) free(h->host[i].model);
    free(h->host);
    *h = (struct hosts){0};
}
