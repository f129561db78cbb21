/* tokenizer.model (SentencePiece's protocol buffer, or a tiktoken file) and *.tiktoken. First byte: 'm' tokenizer.model, else
 * model.tiktoken; 'c' and 'C' with ChatGLM's class beside them. */
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/text.h"

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const model[] = {"tokenizer.model", NULL}, *const tiktoken[] = {"model.tiktoken", NULL},
                             *const chatglm[] = {"tokenizer.model", "tokenizer_config.json", NULL};
    static const char text[] = "Hello  w\xC3\xB6rld, 1234 it's <s>\xE2\x96\x81x\n\n\t\xF0\x9F\xA6\x8A aaaaaaaa";
    static const char class[] = "{\"tokenizer_class\":\"ChatGLMTokenizer\",\"added_tokens_decoder\":{\"70\":{"
                                "\"content\":\"<x>\",\"special\":true}}}";
    static struct fuzz_folder folder[3];
    struct fuzz_folder *f;

    if (!bytes) return;
    f = &folder[*data == 'm' ? 0 : *data == 'c' ? 1 : 2];
    if (!folder[0].files) {
        fuzz_folder_make(&folder[0], model);
        fuzz_folder_make(&folder[1], chatglm);
        fuzz_folder_make(&folder[2], tiktoken);
        fuzz_folder_fill(&folder[1], 1, class, sizeof class - 1, 0);
    }
    fuzz_folder_fill(f, 0, data + 1, bytes - 1, 0);
    fuzz_text(f->path, text, sizeof text - 1);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    struct fuzz_sink s = {emit, arg, {'m'}, 1};

    fuzz_glob("tests/data/tokenizers-more/*/tokenizer.model", fuzz_seed_file, &s);
    s.head[0] = 'c';
    fuzz_glob("tests/data/tokenizers-more/spm-unigram/tokenizer.model", fuzz_seed_file, &s);
    s.head[0] = 't';
    fuzz_glob("tests/data/tokenizers-more/*/*.tiktoken", fuzz_seed_file, &s);
    emit(arg, "tYQ== 0\nYg== 1\nYWI= 2\nIA== 3\n", 29);
    emit(arg, "mYQ== 0\nYg== 1\nYWI= 2\nIA== 3\n", 29);
}

const struct fuzz_target fuzz_pieces = {"pieces", run, seeds, -1};
