/* Where a model comes from: one handle that gives all that a model consists of, wherever it lies.
 *
 *   config       what it is (config.h)                          tokenizer    text to tokens and back (tokenizer/)
 *   tensors      which bytes of which files are whose           template     what a conversation becomes (template.h)
 *                (tensors.h)                                    generation   how its makers would choose tokens
 *
 * A kind of source is a struct source_ops: folders of safetensors files (folder.c), and GGUF files (gguf_source.c), whose
 * values are tokenizer, templates and defaults. What a GGUF's values and tensors mean depends on the family: it gives them as
 * they lie, by source_gguf(), and arch/gguf.h makes of them what a folder gives. To add another kind: its file with its ops,
 * a row in source.c before the folder's, and its row taken out of explain.c.
 *
 * A source is not changed by giving: several threads may ask one. What it gives is the caller's, and outlives it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/source/config.h"
#include "coordinator/source/generation.h"
#include "coordinator/source/template.h"
#include "coordinator/source/tensors.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "proto/base/error.h"

struct gguf;
struct source;

struct source_ops {
    const char *kind; /* "folder" */
    /* *mine: whether path is of this kind; then s->path and s->name are set, and s->own where the kind keeps something. An
     * error where it is of this kind and cannot be used. */
    int (*open)(struct source *s, const char *path, bool *mine, struct error *e);
    void (*close)(struct source *s); /* s->own; may be NULL */
    int (*config)(const struct source *s, struct config **out, struct error *e);
    int (*tensors)(const struct source *s, const struct tensors_options *o, struct tensors **out, struct error *e);
    int (*tokenizer)(const struct source *s, struct tokenizer **out, struct error *e);
    int (*template)(const struct source *s, const char *name, struct template **out, struct error *e);
    int (*generation)(const struct source *s, const struct config *c, struct model_generation *g, struct error *e);
    uint64_t (*text_bytes)(const struct source *s);
    const struct gguf *(*gguf)(const struct source *s); /* may be NULL */
};

/* For the kinds; others go through the functions below. */
struct source {
    const struct source_ops *ops;
    char *path; /* a folder, or a file: what calibrations are kept for, and outputs may not replace */
    char *name; /* for people */
    void *own;
    const char *split; /* source_set_split() */
};

/* path: whatever a user gives for a model. Whether all parts are there is not asked: some commands need one of them only.
 * -ENOENT, -ENOTDIR, -EINVAL, with what lies there instead. */
int source_open(struct source **out, const char *path, struct error *e);
void source_close(struct source *s);

/* How its tokenizer splits texts, where its file does not say, or not rightly; the caller's, and outlives s. -EINVAL: a kind
 * that says so by itself. */
int source_set_split(struct source *s, const char *split, struct error *e);

const char *source_path(const struct source *s);
const char *source_name(const struct source *s);

/* The container, where it is one, belongs to the source; NULL: it is none. */
const struct gguf *source_gguf(const struct source *s);
/* -ENOTSUP of a GGUF. */
int source_config(const struct source *s, struct config **out, struct error *e);
/* o may be NULL. Of a GGUF: under the names that its files give them. */
int source_tensors(const struct source *s, const struct tensors_options *o, struct tensors **out, struct error *e);
/* -ENOENT where there is none. */
int source_tokenizer(const struct source *s, struct tokenizer **out, struct error *e);
/* name NULL: the default one. -ENOENT where there is none. */
int source_template(const struct source *s, const char *name, struct template **out, struct error *e);
/* c: the source's. g is freed by generation_free(), after an error too. */
int source_generation(const struct source *s, const struct config *c, struct model_generation *g, struct error *e);
/* About the memory that tokenizer and template will take, before they are read. */
uint64_t source_text_bytes(const struct source *s);
