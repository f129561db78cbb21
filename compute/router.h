/* The choice of experts, on the host: a few hundred numbers for each position, in one fixed order of operations.
 * Sources: Mixtral, DeepSeek-V2/V3 (group-limited choice, correction bias), gpt-oss (softmax over the chosen ones), SparseMixer
 * (arXiv 2409.12136), of which two are chosen one after the other. */
#pragma once
#include <stdint.h>
#include "proto/plan.h"

/* For each of n positions: ids [top] by falling score (ties: the lower id first), and their weights [top]. With ROUTER_BY_TOKEN ids are
 * given, and only weighed. scratch: floats,
 * 2 * experts + groups. bias: float32 [experts] or NULL. */
void router_choose(const struct op_router *p, const float *logits, uint32_t ld, const float *bias, uint32_t n,
                   uint32_t *id, float *weight, float *scratch);
