/* What `sluice verify` does with a packed folder: unpacks all of it into nothing. */
#pragma once
#include "coordinator/cli/options.h"
#include "coordinator/verify/verify.h"
#include "coordinator/view/view.h"
#include "proto/base/error.h"

/* In the place of verify_read(): sums of the files that were packed, and what is no number in them. */
int verify_packed(struct verify *v, const struct options *o, struct view *view, struct error *e);
/* Threads that packing and unpacking take. */
uint32_t pack_threads(const struct options *o);
