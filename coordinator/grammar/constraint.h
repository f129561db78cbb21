/* The form of one answer, as a sequence asks for it (sequence_want.mask): which tokens may follow those that were made.
 *
 * Asked in any order, for guesses too: what it remembers of the way is only a help. It never fails in the middle of an
 * answer that others share a sweep with: where a mask cannot be made, only the tokens that end an answer are allowed, and
 * constraint_error() says why. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/grammar/grammar.h"
#include "coordinator/grammar/vocabulary.h"

struct constraint;

/* Grammar and vocabulary must outlive it; ends are copied, at least one. Makes the first mask, so that a form that no token
 * can begin is refused here: -EINVAL, -E2BIG. */
int constraint_open(struct constraint **out, const struct grammar *g, const struct grammar_vocabulary *v,
                    const uint32_t *ends, size_t n, struct error *e);
void constraint_close(struct constraint *c);

/* sequence_want.mask, with the constraint as arg. Always 0. */
int constraint_mask(void *arg, const uint32_t *made, uint32_t n, const uint64_t **bits, struct error *e);
/* Is the answer over with these tokens, so that nothing but an end could follow? Who asks after each token saves the sweep
 * that would say so. */
bool constraint_complete(struct constraint *c, const uint32_t *made, uint32_t n);
const struct error *constraint_error(const struct constraint *c); /* code 0: none */
