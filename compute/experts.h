/* Routed experts: the choice, the requests for their tiles, and their products over the positions that chose them. */
#pragma once
#include "compute/decoder.h"

/* Sized by the largest table of the plan. *out NULL where the plan has no experts. */
int experts_open(struct experts **out, struct decoder *d, struct error *e);
void experts_close(struct experts *x, struct decoder *d);
/* OP_ROUTER: chooses, and asks for the tiles of the chosen ones at once. */
int experts_route(struct decoder *d, const struct op_router *p, struct error *e);
/* OP_EXPERTS: experts in rising order, so that a position's sum has the same order whatever else is in the sweep. */
int experts_run(struct decoder *d, const struct op_experts *p, struct error *e);
/* Pushes requests that did not fit the queue yet. */
int experts_pump(struct decoder *d);
