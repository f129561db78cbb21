/* What the files that read a GGUF's tokenizer share. */
#pragma once
#include "coordinator/tokenizer/ggml.h"
#include "coordinator/tokenizer/ggml_split.h"
#include "coordinator/tokenizer/parts.h"
#include "proto/base/log.h"

enum ggml_token_type ggml_type(const struct ggml_tables *g, uint64_t id);
/* A user-defined token of SentencePiece's that is nothing but spaces: "▁▁" as converters write it. */
bool ggml_is_space_run(const struct ggml_tables *g, uint64_t id);
int ggml_no_memory(struct error *e);
/* "FILE: tokenizer.ggml.KEY: what" */
int ggml_fault(const struct ggml_tables *g, struct error *e, const char *key, const char *what);

/* The models that write a space as "▁"; the vocabulary is there, and the merges of the second. */
int ggml_read_pieces(struct tokenizer *t, const struct ggml_tables *g, struct error *e);  /* llama */
int ggml_read_lines(struct tokenizer *t, const struct ggml_tables *g, struct error *e);   /* gemma4 */
int ggml_read_unigram(struct tokenizer *t, const struct ggml_tables *g, struct error *e); /* t5 */
