/* How texts are split that byte-level BPE encodes: GGUF files name a rule (tokenizer.ggml.pre), which is in no file. The
 * patterns are those of the published tokenizer.json of the models that a name was given for. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define GGML_SPLIT_STEPS 6

struct ggml_split {
    const char *names;                     /* separated by spaces */
    const char *pattern[GGML_SPLIT_STEPS]; /* regular expressions one after the other: matches are words of their own */
    bool gpt2;                             /* then GPT-2's own pattern */
    bool behind[GGML_SPLIT_STEPS];         /* a pattern that comes behind GPT-2's */
    bool punctuation;                      /* before all: runs of punctuation are words */
    bool nfc;                              /* before all */
    bool whole_words; /* a word that is a token is that token, whatever the merges would make of it */
    bool begins;      /* a text begins with bos, where the file does not say */
};

/* NULL: the name is not known. */
const struct ggml_split *ggml_split_find(const char *name);
/* All names, separated by a comma and a space, cut off at room. */
void ggml_split_names(char *out, size_t room);
