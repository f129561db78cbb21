#include "coordinator/verify/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *verify_kind_name(enum verify_kind k)
{
    static const char *const names[FINDING_KINDS] = {"file", "model", "tensor", "numbers", "checksum", "baseline"};

    return k < FINDING_KINDS ? names[k] : "unknown";
}

int verify_find(struct verify *v, enum verify_kind kind, const char *file, const char *tensor, const char *fmt, ...)
{
    struct verify_finding *grown = reallocarray(v->finding, v->findings + 1, sizeof *grown), f = {.kind = kind};
    va_list ap;

    if (!grown) return -ENOMEM;
    v->finding = grown;
    va_start(ap, fmt);
    if (vasprintf(&f.text, fmt, ap) < 0) f.text = NULL;
    va_end(ap);
    if (file) f.file = strdup(file);
    if (tensor) f.tensor = strdup(tensor);
    v->finding[v->findings++] = f; /* freed with the rest, whatever failed */
    return f.text && (!file || f.file) && (!tensor || f.tensor) ? 0 : -ENOMEM;
}

int verify_note(struct verify *v, const char *fmt, ...)
{
    char **grown = reallocarray(v->note, v->notes + 1, sizeof *grown), *text = NULL;
    va_list ap;

    if (!grown) return -ENOMEM;
    v->note = grown;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0) text = NULL;
    va_end(ap);
    if (!text) return -ENOMEM;
    v->note[v->notes++] = text;
    return 0;
}

struct verify_item *verify_item_named(const struct verify *v, const char *name)
{
    for (size_t i = 0; i < v->items; i++)
        if (!strcmp(v->item[i].name, name)) return &v->item[i];
    return NULL;
}

char *verify_hex(char *out, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = 0;
    return out;
}

void verify_free(struct verify *v)
{
    for (size_t i = 0; i < v->items; i++) {
        for (size_t k = 0; k < v->item[i].sums; k++) free(v->item[i].sum[k].source);
        free(v->item[i].sum);
        free(v->item[i].name);
        free(v->item[i].path);
    }
    for (size_t i = 0; i < v->tensors; i++) free(v->tensor[i].name);
    for (size_t i = 0; i < v->findings; i++) {
        free(v->finding[i].file);
        free(v->finding[i].tensor);
        free(v->finding[i].text);
    }
    for (size_t i = 0; i < v->notes; i++) free(v->note[i]);
    free(v->gguf_folder);
    free(v->item);
    free(v->tensor);
    free(v->finding);
    free(v->note);
    memset(v, 0, sizeof *v);
}
