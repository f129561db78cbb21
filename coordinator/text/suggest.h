/* "Did you mean": the nearest of some names. */
#pragma once
#include <stddef.h>

/* Insertions, deletions, substitutions and swaps of neighbours that turn a into b (optimal string alignment). Names
 * longer than 63 bytes count as wholly different. */
size_t suggest_distance(const char *a, const char *b);

/* The better of two candidates for word: best as far as known (or NULL) and name. What is too far off to be meant by
 * word never becomes best. */
const char *suggest_nearer(const char *word, const char *best, const char *name);
