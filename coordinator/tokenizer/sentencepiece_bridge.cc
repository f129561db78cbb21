#include "coordinator/tokenizer/sentencepiece_bridge.h"

#include <cerrno>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <sentencepiece_processor.h>

extern "C" {
#include "coordinator/text/utf8.h"
}
extern "C" int token_ids_push(struct token_ids *ids, uint32_t id);

struct piece_model {
    sentencepiece::SentencePieceProcessor processor;
    size_t strips = 0;
    enum sentencepiece_words words = SENTENCEPIECE_WHOLE;
};

/* The "▁" that stands for a space. */
static const char space_mark[] = "\xE2\x96\x81";

/* What decoding takes off the front, found by trying: nothing, one space, or all. */
static size_t strips_of(const sentencepiece::SentencePieceProcessor &processor)
{
    const std::string mark = space_mark;
    const std::vector<std::string> pieces = {mark, mark, mark + "a"};
    std::string text;
    if (!processor.Decode(pieces, &text).ok() || text == "   a") return 0;
    return text == "  a" ? 1 : SIZE_MAX;
}

/* What the model makes of a text before it is cut into pieces. */
static std::string normalized(const sentencepiece::SentencePieceProcessor &processor, const char *text)
{
    std::vector<std::string> pieces;
    std::string joined;
    if (processor.Encode(text, &pieces).ok()) {
        for (const std::string &piece : pieces) joined += piece;
    }
    return joined;
}

static enum sentencepiece_words words_of(const sentencepiece::SentencePieceProcessor &processor)
{
    std::vector<std::vector<int>> best;
    if (processor.NBestEncode("a", 2, &best).ok()) /* only Unigram can */
        return SENTENCEPIECE_WHOLE;
    const std::string marked = std::string(space_mark) + "a";
    return normalized(processor, "a") == marked    ? SENTENCEPIECE_DROP_SPACE
           : normalized(processor, " a") == marked ? SENTENCEPIECE_KEEP_SPACE
                                                   : SENTENCEPIECE_WHOLE;
}

extern "C" int sentencepiece_open(struct piece_model **out, const char *path, struct error *e)
{
    try {
        std::unique_ptr<struct piece_model> s(new struct piece_model);
        const auto status = s->processor.Load(path);
        if (!status.ok() || s->processor.GetPieceSize() <= 0)
            return error_set(e, EINVAL, "%s: libsentencepiece cannot read it: %s; fetch the file again", path,
                             status.ToString().c_str());
        s->strips = strips_of(s->processor);
        s->words = words_of(s->processor);
        *out = s.release();
        return 0;
    } catch (const std::bad_alloc &) {
        return error_set(e, ENOMEM, "%s: no memory to read it", path);
    } catch (const std::exception &x) {
        return error_set(e, EINVAL, "%s: libsentencepiece cannot read it: %s", path, x.what());
    }
}

extern "C" void sentencepiece_close(struct piece_model *s)
{
    delete s;
}

extern "C" uint32_t sentencepiece_size(const struct piece_model *s)
{
    return (uint32_t)s->processor.GetPieceSize();
}

extern "C" const char *sentencepiece_piece(const struct piece_model *s, uint32_t id, size_t *bytes,
                                           enum sentencepiece_kind *kind)
{
    const int i = (int)id;
    const std::string &piece = s->processor.IdToPiece(i);
    *kind = s->processor.IsUnknown(i)   ? SENTENCEPIECE_UNKNOWN
            : s->processor.IsControl(i) ? SENTENCEPIECE_CONTROL
            : s->processor.IsByte(i)    ? SENTENCEPIECE_BYTE
            : s->processor.IsUnused(i)  ? SENTENCEPIECE_UNUSED
                                        : SENTENCEPIECE_NORMAL;
    *bytes = piece.size();
    return piece.c_str();
}

extern "C" float sentencepiece_score(const struct piece_model *s, uint32_t id)
{
    return s->processor.GetScore((int)id);
}

extern "C" bool sentencepiece_is_bpe(const struct piece_model *s)
{
    return s->words != SENTENCEPIECE_WHOLE;
}

extern "C" int64_t sentencepiece_bos(const struct piece_model *s)
{
    return s->processor.bos_id();
}

extern "C" int64_t sentencepiece_eos(const struct piece_model *s)
{
    return s->processor.eos_id();
}

extern "C" size_t sentencepiece_strips(const struct piece_model *s)
{
    return s->strips;
}

extern "C" enum sentencepiece_words sentencepiece_word_style(const struct piece_model *s)
{
    return s->words;
}

/* libsentencepiece joins unknown pieces that follow each other by copying what it has joined so far: a long run of them
 * takes time by its square. So a long text is cut inside of such a run, where no piece reaches over. */
static const size_t long_text = 16384, part_bytes = 8192;

static size_t char_bytes(const char *text)
{
    const unsigned char b = (unsigned char)*text;
    return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

/* Whether the character is a piece of its own that is unknown and that nothing joins with its neighbours: it is in no
 * piece and the normalizer leaves it alone. before: what stands before it when it is encoded by itself. */
static bool stands_alone(const struct piece_model *s, const char *text, std::vector<int> &before)
{
    const std::string c(text, char_bytes(text));
    std::vector<std::string> pieces;
    if (c.size() < 3 || !s->processor.Encode(c, &before).ok() || !s->processor.Encode(c, &pieces).ok()) return false;
    if (before.empty() || !s->processor.IsUnknown(before.back()) || pieces.back() != c) return false;
    before.pop_back();
    return true;
}

/* Where to cut text[0..bytes): between two such characters, behind the first part_bytes; bytes where nowhere. Both must
 * be no marks or joiners, which a normalizer might put together with what they follow. */
static size_t tiling_of(const struct piece_model *s, const char *text, size_t bytes, std::vector<int> &before)
{
    size_t at = part_bytes, tries = 0;
    while (at < bytes && (text[at] & 0xC0) == 0x80) at++;
    while (at < bytes && tries++ < part_bytes / 4) {
        const size_t next = at + char_bytes(text + at);
        size_t n;
        if (next < bytes && !utf8_is_mark(utf8_decode(text + next, &n)) &&
            !utf8_is_other(utf8_decode(text + next, &n)) && stands_alone(s, text + at, before) &&
            stands_alone(s, text + next, before))
            return next;
        at = next;
    }
    return bytes;
}

/* The ids of one part; behind a cut without those of what libsentencepiece puts before a text, and without the unknown
 * piece that continues the one before the cut. */
static int encode_part(const struct piece_model *s, const char *text, size_t bytes, size_t drop, struct token_ids *out,
                       struct error *e)
{
    std::vector<int> ids;
    const auto status = s->processor.Encode({text, bytes}, &ids);
    if (!status.ok())
        return error_set(e, EINVAL, "libsentencepiece cannot encode the text: %s", status.ToString().c_str());
    for (size_t i = drop; i < ids.size(); i++) {
        if (ids[i] < 0 || token_ids_push(out, (uint32_t)ids[i]) != 0)
            return error_set(e, ENOMEM, "no memory for token ids");
    }
    return 0;
}

extern "C" int sentencepiece_encode(const struct piece_model *s, const char *text, size_t bytes, struct token_ids *out,
                                    struct error *e)
{
    try {
        std::vector<int> before;
        size_t drop = 0;
        int rc = 0;
        while (bytes > long_text && rc == 0) {
            const size_t cut = tiling_of(s, text, bytes, before);
            if (cut == bytes) break;
            rc = encode_part(s, text, cut, drop, out, e);
            drop = before.size() + 1;
            text += cut;
            bytes -= cut;
        }
        return rc != 0 ? rc : encode_part(s, text, bytes, drop, out, e);
    } catch (const std::bad_alloc &) {
        return error_set(e, ENOMEM, "no memory to encode a text of %zu bytes", bytes);
    } catch (const std::exception &x) {
        return error_set(e, EINVAL, "libsentencepiece cannot encode the text: %s", x.what());
    }
}
