/* Whole files, as tests of what makes files look at them. Each fails the test where it cannot. */
#pragma once
#include <stdint.h>

void packs_load(char **bytes, uint64_t *n, const char *path); /* the caller's */
void packs_store(const char *path, const char *bytes, uint64_t n);
void packs_assert_same(const char *a, const char *b);
/* FOLDER/NAME, one of eight static places in turn. */
char *packs_within(const char *folder, const char *name);
