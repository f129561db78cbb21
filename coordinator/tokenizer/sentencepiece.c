/* tokenizer.model, SentencePiece's own file: libsentencepiece encodes, what is around it is ours. */
#include "coordinator/tokenizer/parts.h"
#include "coordinator/text/utf8.h"

#include <errno.h>

static const char mark[] = "\xE2\x96\x81";
static const char unknown[] = " \xE2\x81\x87 "; /* what SentencePiece decodes its unknown piece to */

/* Whether a piece has a space, or its mark, behind something else. */
static bool reaches_over_space(const char *piece, size_t bytes)
{
    size_t at = 0;
    while (bytes - at >= 3 && memcmp(piece + at, mark, 3) == 0) at += 3;
    return memmem(piece + at, bytes - at, mark, 3) || memchr(piece, ' ', bytes);
}

static int read_pieces(struct tokenizer *t, struct error *e)
{
    const struct piece_model *s = t->model.sentencepiece;
    t->model.words = sentencepiece_word_style(s);
    for (uint32_t id = 0; id < sentencepiece_size(s); id++) {
        size_t bytes;
        enum sentencepiece_kind kind;
        const char *piece = sentencepiece_piece(s, id, &bytes, &kind);
        if (utf8_valid_bytes(piece, bytes) != bytes)
            return error_set(e, EINVAL, "piece %u of tokenizer.model is not UTF-8: fetch the file again", id);
        int rc = vocab_put(&t->model.vocab, piece, bytes, id);
        if (rc != 0) return error_set(e, -rc, "no room for %u pieces", sentencepiece_size(s));
        if (kind == SENTENCEPIECE_UNKNOWN) t->model.unk = id;
        if (reaches_over_space(piece, bytes)) t->model.words = SENTENCEPIECE_WHOLE;
        struct added_token a = {.id = id, .special = true};
        if ((kind == SENTENCEPIECE_UNKNOWN || kind == SENTENCEPIECE_CONTROL) &&
            tokenizer_add_token(t, a, piece, bytes, e) != 0)
            return -ENOMEM;
    }
    return 0;
}

/* ChatGLM 2 and 3 put these behind the pieces (tokenization_chatglm.py) and begin each text with two of them. */
static int add_chatglm(struct tokenizer *t, struct error *e)
{
    static const char *const names[] = {"[MASK]",   "[gMASK]",       "[sMASK]",        "sop", "eop", "<|system|>",
                                        "<|user|>", "<|assistant|>", "<|observation|>"};
    uint32_t base = sentencepiece_size(t->model.sentencepiece);
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct added_token a = {.id = base + i, .special = true};
        int rc = tokenizer_add_token(t, a, names[i], strlen(names[i]), e);
        if (rc != 0) return rc;
    }
    if (token_ids_push(&t->post.prefix, base + 1) != 0 || token_ids_push(&t->post.prefix, base + 3) != 0)
        return error_set(e, ENOMEM, "no memory for the tokenizer");
    return 0;
}

static int push_around(struct tokenizer *t, const struct special_tokens *s, const char *flag, bool otherwise,
                       const char *name, int64_t id, struct token_ids *to, struct error *e)
{
    bool add;
    const char *content = json_string_value(special_tokens_content(s, name, NULL));
    int rc = json_get_bool(s->config, flag, otherwise, &add, e);
    if (rc != 0) return error_prefix(e, "tokenizer_config.json");
    if (content && tokenizer_token_id(t, content) >= 0) id = tokenizer_token_id(t, content);
    return !add || id < 0                          ? 0
           : token_ids_push(to, (uint32_t)id) != 0 ? error_set(e, ENOMEM, "no memory for the tokenizer")
                                                   : 0;
}

/* <0xNN> to bytes, off with the marks at the front that SentencePiece takes away, the others to spaces. In this order, so
 * that the space before the unknown piece's text stays. */
static int make_decoder(struct tokenizer *t, struct error *e)
{
    struct decoder_step *s;
    size_t strips = sentencepiece_strips(t->model.sentencepiece);
    int rc = decoder_add(&t->decoder, DECODER_BYTE_FALLBACK, &s, e);
    rc = rc != 0 ? rc : decoder_add(&t->decoder, DECODER_FUSE, &s, e);
    if (rc == 0 && strips && (rc = decoder_add(&t->decoder, DECODER_STRIP, &s, e)) == 0) {
        buffer_append_text(&s->content, mark);
        s->start = strips;
        rc = s->content.failed ? error_set(e, ENOMEM, "no memory for the tokenizer") : 0;
    }
    rc = rc != 0 ? rc : decoder_add(&t->decoder, DECODER_REPLACE, &s, e);
    if (rc != 0) return rc;
    buffer_append_text(&s->literal, mark);
    buffer_append_text(&s->content, " ");
    return pattern_literal(&s->pattern, mark, 3, e);
}

int tokenizer_read_sentencepiece(struct tokenizer *t, const char *path, const struct special_tokens *special,
                                 struct error *e)
{
    t->model.kind = MODEL_SENTENCEPIECE;
    t->model.unk = -1;
    int rc = sentencepiece_open(&t->model.sentencepiece, path, e);
    rc = rc != 0 ? rc : read_pieces(t, e);
    rc = rc != 0 ? rc : special_tokens_add(t, special, NULL, SPECIAL_GIVEN_ONLY, e);
    if (rc != 0) return rc;
    if (t->model.unk >= 0 && added_tokens_show(&t->added, (uint32_t)t->model.unk, unknown, sizeof unknown - 1) != 0)
        return error_set(e, ENOMEM, "no memory for the tokenizer");
    const struct piece_model *s = t->model.sentencepiece;
    const char *class = json_string_value(json_object_get(special->config, "tokenizer_class"));
    if (class && !strcmp(class, "ChatGLMTokenizer")) {
        rc = add_chatglm(t, e);
        rc = rc != 0 ? rc : special_tokens_add(t, special, NULL, SPECIAL_GIVEN_IDS, e);
    } else {
        rc = special_tokens_add(t, special, NULL, SPECIAL_GIVEN_IDS, e);
        rc = rc != 0 ? rc
                     : push_around(t, special, "add_bos_token", true, "bos_token", sentencepiece_bos(s),
                                   &t->post.prefix, e);
        rc = rc != 0 ? rc
                     : push_around(t, special, "add_eos_token", false, "eos_token", sentencepiece_eos(s),
                                   &t->post.suffix, e);
    }
    if (!t->eos_file && (t->eos = sentencepiece_eos(s)) >= 0) t->eos_file = "tokenizer.model";
    rc = rc != 0 ? rc : make_decoder(t, e);
    return rc != 0 ? rc : added_tokens_index(&t->added, &t->normalizer, e);
}
