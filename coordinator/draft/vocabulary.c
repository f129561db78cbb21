#include "coordinator/draft/vocabulary.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/text/buffer.h"
#include "coordinator/tokenizer/token_bytes.h"

#define SHOWN 48u /* bytes of a token in a message */

static bool get(const struct tokenizer *t, uint32_t id, struct buffer *out)
{
    out->bytes = 0;
    return tokenizer_token_bytes(t, id, out);
}

/* Printed bytes as they are, all others by their numbers. */
static const char *show(const struct buffer *b, char out[4 * SHOWN + 8])
{
    size_t n = 0, shown = b->bytes < SHOWN ? b->bytes : SHOWN;

    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)b->data[i];

        if (c >= 0x20 && c < 0x7f)
            out[n++] = (char)c;
        else
            n += (size_t)sprintf(out + n, "\\x%02x", c);
    }
    memcpy(out + n, shown < b->bytes ? "..." : "", shown < b->bytes ? 4 : 1);
    return out;
}

static int compare_sizes(const struct vocabulary *m, const struct vocabulary *d, struct error *e)
{
    size_t a = tokenizer_vocab_size(m->tokenizer), b = tokenizer_vocab_size(d->tokenizer);

    if (a >= b - b / 10 && b >= a - a / 10) return 0;
    return error_set(e, EINVAL, "%s has %zu tokens and %s %zu: a draft needs the same ones", d->name, b, m->name, a);
}

int vocabulary_compare(const struct vocabulary *model, const struct vocabulary *draft, struct error *e)
{
    size_t a = tokenizer_vocab_size(model->tokenizer), b = tokenizer_vocab_size(draft->tokenizer);
    struct buffer x = {0}, y = {0};
    char left[4 * SHOWN + 8], right[4 * SHOWN + 8];
    int rc = compare_sizes(model, draft, e);

    for (uint32_t id = 0; !rc && id < a && id < b; id++) {
        if (!get(model->tokenizer, id, &x) || !get(draft->tokenizer, id, &y)) continue;
        if (x.failed || y.failed)
            rc = error_set(e, ENOMEM, "no memory to compare tokens");
        else if (x.bytes != y.bytes || (x.bytes && memcmp(x.data, y.data, x.bytes)))
            rc = error_set(e, EINVAL,
                           "token %u is '%s' in %s and '%s' in %s: a draft needs the same tokens as the model", id,
                           show(&y, right), draft->name, show(&x, left), model->name);
    }
    buffer_free(&x);
    buffer_free(&y);
    return rc;
}
