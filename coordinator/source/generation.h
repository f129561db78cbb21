/* What a model's makers recommend for generating: generation_config.json of a folder, keys of a GGUF file. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/config.h"
#include "proto/base/error.h"

/* What sampling can be asked for, in a file, by flags, and in a chat; probabilities are from 0 to 1. */
#define TEMPERATURE_MOST     100.0
#define REPEAT_PENALTY_LEAST 0.01
#define REPEAT_PENALTY_MOST  100.0
#define TOP_K_MOST           1e9

/* Who calls a token an end. */
enum generation_file {
    GENERATION_FILE = 1,    /* generation_config.json */
    GENERATION_CONFIG = 2,  /* config.json */
    GENERATION_EOS_KEY = 4, /* of a GGUF file: tokenizer.ggml.eos_token_id */
    GENERATION_EOT_KEY = 8,
    GENERATION_EOM_KEY = 16,
    GENERATION_END_TEXT = 32, /* the token's text is one that ends answers */
};

/* The folder's defaults for generating: generation_config.json, where it is silent config.json's ids; the ends of both. */
struct model_generation {
    uint32_t *eos;     /* every token that a file calls an end, each once */
    uint8_t *eos_from; /* enum generation_file of each, more than one perhaps */
    size_t eos_count;
    int64_t bos, pad;                                 /* -1: none */
    double temperature, top_p, min_p, repeat_penalty; /* NaN: not given */
    int64_t top_k;                                    /* -1: not given */
    bool has_do_sample, do_sample;
};

/* A folder without the file has config.json's ids alone. -EINVAL: a value is none that there can be; the error names file and
 * key. g is freed by generation_free(), after an error too. */
int generation_read(struct model_generation *g, const char *folder, const struct config *c, struct error *e);
/* Nothing is given. */
void generation_begin(struct model_generation *g);
/* Another end, or another who says so. 0 or -ENOMEM. */
int generation_add_end(struct model_generation *g, uint32_t id, enum generation_file from, struct error *e);
void generation_free(struct model_generation *g);
