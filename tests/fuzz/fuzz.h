/* Fuzz targets: each takes any bytes and must neither crash, hang, nor take memory that neither the input nor the model's
 * checked sizes account for.
 *
 *   make fuzz SECONDS=60 [TARGET=config]   libFuzzer under the address and undefined-behaviour sanitizers (needs clang)
 *   tests/test_fuzz_cases.c                the same functions in every build: what once failed (tests/data/fuzz/TARGET),
 *                                          the seeds, and a few thousand mutations of them
 *
 * Seeds are made from the reference data when they are needed; nothing generated is committed. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef void fuzz_emit(void *arg, const void *data, size_t bytes);

struct fuzz_target {
    const char *name;
    void (*run)(const uint8_t *data, size_t bytes);
    void (*seeds)(fuzz_emit *emit, void *arg);
    int json; /* an input is JSON from this byte on: its mutations may stay JSON; -1: it is none */
};

extern const struct fuzz_target fuzz_safetensors, fuzz_index, fuzz_config, fuzz_generation, fuzz_tokenizer, fuzz_pieces,
    fuzz_template, fuzz_control, fuzz_plan, fuzz_run, fuzz_options, fuzz_trace, fuzz_sums, fuzz_tensors_list, fuzz_job,
    fuzz_messages, fuzz_calibration, fuzz_document, fuzz_place, fuzz_special, fuzz_merges, fuzz_gguf, fuzz_gguf_text,
    fuzz_unit, fuzz_packed, fuzz_schema, fuzz_tools, fuzz_tekken;
extern const struct fuzz_target fuzz_request;
extern const struct fuzz_target *const fuzz_targets[]; /* all of them; NULL ends it */

/* Aborts with a line on stderr: the target's own findings. */
void fuzz_fail(const char *what);
