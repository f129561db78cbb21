/* The experts of DeepSeek V3, which GLM-4.5 has too: sigmoid scores, groups, a correction for the choice, shared ones. */
#pragma once
#include "coordinator/arch/stack.h"

struct deepseek_moe {
    struct moe moe;
    uint32_t dense_layers; /* the first ones have no experts */
};

struct deepseek_moe deepseek_v3_moe(struct build *b);
/* struct stack's feed; s->own begins with a struct deepseek_moe. */
void deepseek_feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src);
