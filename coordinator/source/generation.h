/* generation_config.json: what a folder's makers recommend for generating. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/config.h"
#include "proto/base/error.h"

/* The folder's defaults for generating: generation_config.json, where it is silent config.json's ids. */
struct model_generation {
    uint32_t *eos;
    size_t eos_count;
    int64_t bos, pad;                                 /* -1: none */
    double temperature, top_p, min_p, repeat_penalty; /* NaN: not given */
    int64_t top_k;                                    /* -1: not given */
    bool has_do_sample, do_sample;
};

/* A folder without the file has config.json's ids alone. g is freed by generation_free(), after an error too. */
int generation_read(struct model_generation *g, const char *folder, const struct config *c, struct error *e);
void generation_free(struct model_generation *g);
