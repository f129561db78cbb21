/* Families in layouts that no library computes: the weights of a reference model, under their names and in their order. */
#pragma once
#include "tests/support_model.h"

struct renamed_family {
    const char *name;
    const char *golden;  /* the reference model whose weights they are, and whose logits must come out */
    const char *how;     /* what is different */
    char *(*make)(void); /* a scratch folder, the caller's */
};

#define RENAMED_FAMILIES 4
extern const struct renamed_family renamed_families[RENAMED_FAMILIES];
