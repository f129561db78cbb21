#include "tests/fuzz/text.h"

#include <errno.h>
#include <string.h>

#include "coordinator/tokenizer/detokenizer.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "coordinator/tokenizer/map.h"
#include "coordinator/text/utf8.h"
#include "tests/fuzz/fuzz.h"

static void decode(const struct tokenizer *t, const struct token_ids *ids)
{
    struct detokenizer *d;
    struct error e = {0};
    const char *text;
    size_t n;

    if (detokenizer_open(&d, t, false, &e)) return;
    for (size_t i = 0; i < ids->count; i++) {
        if (detokenizer_push(d, ids->id[i], &text, &n, &e)) break;
        if (n && utf8_valid_bytes(text, n) != n) fuzz_fail("decoded text that is not UTF-8");
    }
    if (!detokenizer_finish(d, &text, &n) && n && utf8_valid_bytes(text, n) != n)
        fuzz_fail("decoded text that is not UTF-8");
    detokenizer_close(d);
}

void fuzz_text_of(const struct tokenizer *t, const char *text, size_t bytes)
{
    struct token_ids ids = {0};
    struct error e = {0};
    uint32_t size = (uint32_t)tokenizer_vocab_size(t);

    if (!tokenizer_encode(t, text, bytes, true, &ids, &e)) {
        for (size_t i = 0; i < ids.count; i++)
            if (ids.id[i] >= VOCAB_ID_LIMIT)
                fuzz_fail("an id beyond any vocabulary"); /* a post-processor's need not be in it */
    } else if (strlen(e.text) < 10) {
        fuzz_fail("an error without a message");
    }
    for (uint32_t i = 0; i < 8; i++) {
        token_ids_push(&ids, i);
        token_ids_push(&ids, size - i);
    }
    decode(t, &ids);
    tokenizer_token_id(t, "a");
    token_ids_free(&ids);
}

void fuzz_text(const char *folder, const char *text, size_t bytes)
{
    struct tokenizer *t;
    struct error e = {0};

    if (tokenizer_open(&t, folder, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
        return;
    }
    fuzz_text_of(t, text, bytes);
    tokenizer_close(t);
}

void fuzz_text_behind(struct fuzz_folder *f, const uint8_t *data, size_t bytes, const char *usual)
{
    const uint8_t *nul = bytes ? memchr(data, 0, bytes) : NULL;
    const char *text = nul ? (const char *)nul + 1 : usual;

    fuzz_folder_fill(f, 0, data, nul ? (size_t)(nul - data) : bytes, 0);
    fuzz_text(f->path, text, nul ? bytes - (size_t)(text - (const char *)data) : strlen(usual));
}
