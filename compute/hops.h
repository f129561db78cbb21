/* Hops between machines: columns of activations into messages and out of them (proto/link.h). */
#pragma once
#include "compute/decoder.h"

int hops_send(struct decoder *d, const struct plan_op *op, struct error *e);
int hops_receive(struct decoder *d, const struct plan_op *op, struct error *e);
