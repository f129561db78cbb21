/* Programs built by hand, for tests that need a plan but no model folder. Their files have no bytes on any disk. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/arch/program.h"
#include "coordinator/plan/plan.h"

/* A decoder of these sizes. Tensors lie in one file one after the other, from an odd offset on. */
struct test_shape {
    uint32_t layers, hidden, inter, heads, kv_heads, head_dim, vocab, context;
    uint32_t form;                  /* of the layers' matrices (embedding and head stay BF16) */
    uint32_t experts, top;          /* 0: dense */
    bool fused, transposed, biased; /* of the experts */
    bool latent;                    /* an OP_HEADMM pair in each layer */
    bool recurrent;                 /* an OP_CONV, OP_DELTA and OP_SCAN in each layer */
    uint32_t block; /* rows and columns of a block of scales, where the form leaves that to the matrix */
    uint64_t gap;   /* bytes between tensors, 0: none */
};

extern const struct test_shape test_shape_small;

void test_program(struct program *p, const struct test_shape *s);
/* The same as an image, the caller's. */
struct plan_shm *test_image(const struct test_shape *s);
/* Every tile comes from its file in every sweep. */
void test_stream_all(struct plan_shm *p);
/* Settings of the cpu backend with a budget of its own, one thread. */
struct plan_settings test_settings(uint64_t host_memory);
