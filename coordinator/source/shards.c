#include "coordinator/source/shards.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/source/tensors.h"

#define END        ".safetensors"
#define DIGITS     9 /* of a number: more is none of a shard */
#define SHARD_MOST 100000u

/* A number that ends at end, and where it begins; NULL: there is none. */
static const char *number_before(const char *name, const char *end, unsigned *out)
{
    const char *p = end;

    while (p > name && isdigit((unsigned char)p[-1])) p--;
    if (p == end || end - p > DIGITS) return NULL;
    *out = (unsigned)strtoul(p, NULL, 10);
    return p;
}

bool shards_parse(const char *name, unsigned *number, unsigned *of, size_t *stem_bytes)
{
    const char *p;

    if (!tensors_name_ends(name, END)) return false;
    if (!(p = number_before(name, name + strlen(name) - strlen(END), of))) return false;
    if (p - name < 4 || memcmp(p - 4, "-of-", 4) || !(p = number_before(name, p - 4, number))) return false;
    if (p - name < 2 || p[-1] != '-' || !*of || *of > SHARD_MOST || *number > *of) return false;
    *stem_bytes = (size_t)(p - 1 - name);
    return true;
}

static bool is_consolidated(const char *name)
{
    return !strncmp(name, "consolidated", strlen("consolidated"));
}

static bool could_be_weights(const char *name)
{
    static const char *const others[] = {"adapter_", "optimizer", "training_", "scheduler", "non_lora"};

    if (*name == '.' || !tensors_name_ends(name, END)) return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strncmp(name, others[i], strlen(others[i]))) return false;
    return true;
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list(struct shards *s, const char *folder, struct error *e)
{
    DIR *d = opendir(folder);
    struct dirent *x;
    int rc = 0;

    if (!d) return error_set(e, errno, "%s: %s", folder, error_name(errno));
    while (!rc && (x = readdir(d))) {
        char **grown;

        if (!could_be_weights(x->d_name)) continue;
        grown = reallocarray(s->name, s->count + 1, sizeof *grown);
        if (grown) s->name = grown;
        if (!grown || !(s->name[s->count] = strdup(x->d_name)))
            rc = error_set(e, ENOMEM, "%s: no memory for its files", folder);
        else
            s->count++;
    }
    closedir(d);
    if (!rc && s->count) qsort(s->name, s->count, sizeof *s->name, by_string);
    return rc;
}

typedef bool keep_fn(const char *name, const char *like);

static void keep_only(struct shards *s, keep_fn *keep, const char *like)
{
    size_t n = 0;

    for (size_t i = 0; i < s->count; i++) {
        if (keep(s->name[i], like))
            s->name[n++] = s->name[i];
        else
            free(s->name[i]);
    }
    s->count = n;
}

static bool not_consolidated(const char *name, const char *like)
{
    (void)like;
    return !is_consolidated(name);
}

static bool same_set(const char *name, const char *like)
{
    unsigned a, b, of_a, of_b;
    size_t stem_a, stem_b;

    return shards_parse(name, &a, &of_a, &stem_a) && shards_parse(like, &b, &of_b, &stem_b) && of_a == of_b &&
           stem_a == stem_b && !memcmp(name, like, stem_a);
}

/* Of a set, which is sorted; names of one set have as many digits. */
static int check_whole(const struct shards *s, const char *folder, struct error *e)
{
    unsigned number, of, next;
    size_t stem;

    if (!s->count || !shards_parse(s->name[0], &number, &of, &stem)) return 0;
    next = number ? 1 : 0;
    for (size_t i = 0; i < s->count; i++, next++) {
        shards_parse(s->name[i], &number, &of, &stem);
        if (number != next) break;
    }
    if (s->count == of) return 0;
    return error_set(e, ENOENT,
                     "%s: of the shards %.*s-*-of-%u number %u is not there, %zu in all are: download the missing ones",
                     folder, (int)stem, s->name[0], of, next, s->count);
}

static int choose(struct shards *s, const char *folder, struct error *e)
{
    const char *first = NULL;
    size_t others = 0, stem;
    unsigned number, of;

    for (size_t i = 0; i < s->count; i++) others += !is_consolidated(s->name[i]);
    if (others) keep_only(s, not_consolidated, NULL);
    for (size_t i = 0; i < s->count; i++) {
        if (!shards_parse(s->name[i], &number, &of, &stem)) continue;
        if (first && !same_set(s->name[i], first))
            return error_set(e, EINVAL,
                             "%s: two sets of shards lie there (%s, %s), and no %s says which of them is the model: "
                             "download it, or move one set away",
                             folder, first, s->name[i], TENSORS_INDEX_NAME);
        if (!first) first = s->name[i];
    }
    if (!first) return 0;
    keep_only(s, same_set, first);
    return check_whole(s, folder, e);
}

int shards_find(struct shards *s, const char *folder, struct error *e)
{
    int rc;

    *s = (struct shards){0};
    rc = list(s, folder, e);
    if (!rc) rc = choose(s, folder, e);
    if (rc) shards_free(s);
    return rc;
}

void shards_free(struct shards *s)
{
    for (size_t i = 0; i < s->count; i++) free(s->name[i]);
    free(s->name);
    *s = (struct shards){0};
}
