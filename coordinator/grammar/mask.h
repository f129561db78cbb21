/* Which tokens may follow a state: one walk over the tree of a vocabulary, kept for states that come again. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "coordinator/grammar/states.h"
#include "coordinator/grammar/vocabulary.h"

struct grammar_masks;

/* ends: tokens that end an answer, allowed where it may end and nowhere else; copied. The vocabulary must outlive it. */
int grammar_masks_open(struct grammar_masks **out, const struct grammar_vocabulary *v, const uint32_t *ends, size_t n,
                       struct error *e);
void grammar_masks_close(struct grammar_masks *m);
/* *bits: as sampler_settings.allow, valid until the next call. States are those of s until it
 * forgets them: then masks are to be forgotten too. -ENOSPC: the table is full, see states.h. */
int grammar_mask(struct grammar_masks *m, struct grammar_states *s, uint32_t state, const uint64_t **bits,
                 struct error *e);
void grammar_masks_forget(struct grammar_masks *m);
bool grammar_is_end(const struct grammar_masks *m, uint32_t token);
/* Nodes of the tree that were looked at, in all. */
uint64_t grammar_masks_work(const struct grammar_masks *m);
