/* Qwen3-MoE with its experts in words of GPTQ and AWQ, and the same numbers as float32: there is no reference of such. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct words_kind {
    const char *name;
    bool awq, by_input; /* by_input: each input names its group (desc_act) */
    uint32_t bits;
    const char *left; /* part of the name of a matrix that stays as it was; NULL: none */
};
#define WORDS_KINDS 4
extern const struct words_kind words_kinds[WORDS_KINDS];
/* A scratch folder; plain: of float32. Its prompt is qwen3-moe's. */
char *words_make(const struct words_kind *k, bool plain);
