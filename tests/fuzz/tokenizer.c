/* tokenizer.json, a NUL, and the text to encode (without them: a text of its own). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/text.h"

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"tokenizer.json", NULL};
    static const char usual[] = "Hello  w\xC3\xB6rld, 1234 it's <s>\xE2\x96\x81x\n\n\t\xF0\x9F\xA6\x8A aaaaaaaa";
    static struct fuzz_folder folder;

    if (!folder.files) fuzz_folder_make(&folder, names);
    fuzz_text_behind(&folder, data, bytes, usual);
}

struct sink {
    fuzz_emit *emit;
    void *arg;
};

/* Vocabularies are cut down: a mutation shall hit what is around them. */
static void seed_small(void *arg, const char *path)
{
    struct sink *s = arg;
    size_t bytes;
    char *text = fuzz_read(path, &bytes);

    if (bytes <= 7000) s->emit(s->arg, text, bytes);
    free(text);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[] = {
        "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true},{\"id\":5,\"content\":"
        "\" x\",\"lstrip\":true,\"rstrip\":true,"
        "\"normalized\":true,\"single_word\":true}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\","
        "\"pretokenizers\":[{\"type\":\"Split\","
        "\"pattern\":{\"Regex\":\"(?i:'s|'t)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|\\\\s+(?!\\\\S)|"
        "\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},"
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]},\"post_"
        "processor\":{\"type\":\"TemplateProcessing\","
        "\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
        "\"pair\":[],\"special_tokens\":{\"<s>\":"
        "{\"id\":\"<s>\",\"ids\":[4],\"tokens\":[\"<s>\"]}}},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":"
        "\"BPE\",\"dropout\":null,\"unk_token\":null,"
        "\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\xC4\xA0\":3},\"merges\":[\"a b\"]}}",
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true}],\"normalizer\":{\"type\":\"Sequence\","
        "\"normalizers\":[{\"type\":\"Prepend\","
        "\"prepend\":\"\xE2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
        "\"},\"content\":\"\xE2\x96\x81\"},{\"type\":\"NFKC\"},{\"type\":\"Lowercase\"},"
        "{\"type\":\"StripAccents\"},{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}]},\"pre_tokenizer\":"
        "null,\"post_processor\":null,\"decoder\":"
        "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},"
        "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":"
        "\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "
        "\",\"start\":1,\"stop\":0}]},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,"
        "\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,\"<0x0A>\":1,\"\xE2\x96\x81\":2,\"a\":3,\"aa\":4,\"\xE2\x96\x81"
        "a\":5},\"merges\":[[\"a\",\"a\"],[\"\xE2\x96\x81\",\"a\"]]}}",
        "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"},\"pre_tokenizer\":{\"type\":"
        "\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","
        "\"prepend_scheme\":\"always\",\"split\":true},\"decoder\":{\"type\":\"Metaspace\",\"replacement\":"
        "\"\xE2\x96\x81\",\"prepend_scheme\":\"always\"},\"model\":"
        "{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":false,\"vocab\":[[\"<unk>\",0.0],[\"\xE2\x96\x81\",-1.5],"
        "[\"a\",-2.5],[\"aa\",-2.25]]}}",
        "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_"
        "accents\":null,\"lowercase\":true},\"pre_tokenizer\":"
        "{\"type\":\"BertPreTokenizer\"},\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",1],\"cls\":"
        "[\"[CLS]\",0]},\"decoder\":{\"type\":\"WordPiece\","
        "\"prefix\":\"##\",\"cleanup\":true},\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_"
        "subword_prefix\":\"##\",\"max_input_chars_per_word\":"
        "100,\"vocab\":{\"[CLS]\":0,\"[SEP]\":1,\"[UNK]\":2,\"a\":3,\"##a\":4}}}",
        "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
        "{\"type\":\"Punctuation\",\"behavior\":"
        "\"MergedWithPrevious\"},{\"type\":\"WhitespaceSplit\"},{\"type\":\"Whitespace\"},{\"type\":"
        "\"CharDelimiterSplit\",\"delimiter\":\"x\"},{\"type\":"
        "\"UnicodeScripts\"}]},\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0,\"[UNK]\":1},\"unk_token\":\"[UNK]"
        "\"}}",
    };
    struct sink s = {emit, arg};
    char seed[4096];

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int n = snprintf(seed, sizeof seed,
                         "%s%caab a'S 12 \xE2\x96\x81"
                         "a<s>\xF0\x9F\xA6\x8A",
                         texts[i], 0);

        emit(arg, texts[i], strlen(texts[i]));
        if (n > 0 && n < (int)sizeof seed) emit(arg, seed, (size_t)n);
    }
    fuzz_glob("tests/data/tokenizers*/*/tokenizer.json", seed_small, &s);
}

const struct fuzz_target fuzz_tokenizer = {"tokenizer", run, seeds, 0};
