#include "coordinator/arch/names.h"

#include <stdio.h>
#include <string.h>

#define NAME_BYTES 512

static bool has(const struct tensors *t, const char *prefix, const char *name)
{
    char full[NAME_BYTES];

    return snprintf(full, sizeof full, "%s%s.weight", prefix, name) < (int)sizeof full && tensors_find(t, full);
}

/* A matrix, or one that was quantized by GPTQ or AWQ. */
static bool has_head(const struct tensors *t, const char *prefix, const char *name)
{
    char full[NAME_BYTES];

    return has(t, prefix, name) ||
           (snprintf(full, sizeof full, "%s%s.qweight", prefix, name) < (int)sizeof full && tensors_find(t, full));
}

bool names_any_begins(const struct tensors *t, const char *start)
{
    size_t n = strlen(start);

    for (size_t i = 0; i < t->count; i++)
        if (!strncmp(t->at[i].name, start, n)) return true;
    return false;
}

/* Of all prefixes that an embedding and a first layer have, the shortest; of equals, the first by name. */
static bool search(const struct tensors *t, const char *embed, const char *layers, char *out, size_t bytes)
{
    char end[NAME_BYTES], start[NAME_BYTES];
    size_t n = (size_t)snprintf(end, sizeof end, "%s.weight", embed), best = SIZE_MAX;

    for (size_t i = 0; i < t->count; i++) {
        const char *name = t->at[i].name;
        size_t k = strlen(name);
        if (k < n || strcmp(name + k - n, end) || (k > n && name[k - n - 1] != '.')) continue;
        k -= n;
        if (k >= bytes || k > best || (k == best && strncmp(name, out, k) >= 0)) continue;
        if (snprintf(start, sizeof start, "%.*s%s.0.", (int)k, name, layers) >= (int)sizeof start) continue;
        if (!names_any_begins(t, start)) continue;
        memcpy(out, name, k);
        out[k] = 0;
        best = k;
    }
    return best != SIZE_MAX;
}

bool names_prefix(const struct tensors *t, const char *usual, const char *embed, const char *layers, char *out,
                  size_t bytes)
{
    static const char *const known[] = {"model.",
                                        "model.language_model.",
                                        "language_model.model.",
                                        "model.language_model.model.",
                                        "language_model.",
                                        "model.text_model.",
                                        ""};

    if (has(t, usual, embed)) {
        snprintf(out, bytes, "%s", usual);
        return true;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!has(t, known[i], embed)) continue;
        snprintf(out, bytes, "%s", known[i]);
        return true;
    }
    return search(t, embed, layers, out, bytes);
}

bool names_head(const struct tensors *t, const char *prefix, const char *head, char *out, size_t bytes)
{
    static const char *const usual[] = {"language_model.", "model."};
    char cut[NAME_BYTES];

    for (size_t n = 0; n <= strlen(prefix); n++) {
        if (n && prefix[n - 1] != '.') continue;
        snprintf(cut, sizeof cut, "%.*s", (int)n, prefix);
        if (!has_head(t, cut, head)) continue;
        snprintf(out, bytes, "%s", cut);
        return true;
    }
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        if (!has_head(t, usual[i], head)) continue;
        snprintf(out, bytes, "%s", usual[i]);
        return true;
    }
    return false;
}
