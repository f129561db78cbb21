/* What the metadata of a GGUF file say about text: its tokenizer, its chat templates, which tokens end an answer, and how its
 * makers would choose tokens. */
#pragma once
#include "coordinator/source/generation.h"
#include "coordinator/source/gguf.h"
#include "coordinator/source/template.h"
#include "coordinator/tokenizer/tokenizer.h"

/* pre: how its tokenizer splits texts, in place of tokenizer.ggml.pre; NULL: as the file says. A tokenizer.huggingface.json
 * within the file goes before all other keys. -ENOENT: it holds none. */
int gguf_tokenizer(struct tokenizer **out, const struct gguf *g, const char *pre, struct error *e);
/* name NULL: the default one, and "tool_use" where there is one and tools are given. */
int gguf_template(struct template **out, const struct gguf *g, const char *name, struct error *e);
/* general.sampling.*, and the ends of an answer: eos, eot, eom, and all tokens whose text is known for it, since files forget
 * to say which end a turn. x is freed by generation_free(), after an error too. */
int gguf_generation(struct model_generation *x, const struct gguf *g, struct error *e);
/* About the memory that tokenizer and template take. */
uint64_t gguf_text_bytes(const struct gguf *g);
