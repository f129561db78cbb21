/* The parts of a source that a run opens, each judged as a run judges it:
 *
 *   model       config, tensors, and the family's program      tokenizer   beside it on a thread of its own
 *   fit         the tokenizer belongs to the model             template    where the source has one
 *
 * Who runs a model stops at the first part that is refused; who only wants to know hears of all of them. Both go through
 * the same code, so that whatever a run refuses is told by `sluice verify`. */
#pragma once
#include <stdbool.h>
#include "coordinator/arch/model.h"
#include "coordinator/source/source.h"

enum parts_template { PARTS_NO_TEMPLATE, PARTS_TEMPLATE_IF_ANY, PARTS_TEMPLATE_MUST };
enum parts_part { PARTS_MODEL, PARTS_TOKENIZER, PARTS_FIT, PARTS_TEMPLATE };

struct parts_options {
    struct model_options model;
    bool text; /* the tokenizer too, and whether it fits */
    enum parts_template template;
    const char *template_name; /* NULL: the default one */
    /* Told of each part that is refused, with the error that a run would end with; the others are opened all the same.
     * NULL: the first ends the opening. */
    void (*fault)(void *arg, enum parts_part part, const struct error *e);
    void *arg;
};

struct parts {
    struct model *model; /* NULL where it was refused, and so on */
    struct tokenizer *tokenizer;
    struct template *template;
};

int parts_open(struct parts *p, const struct source *s, const struct parts_options *o, struct error *e);
void parts_close(struct parts *p);
