/* What `sluice verify` does with a packed folder: unpacks all of it into nothing, and tells the sums of what it was made of. */
#pragma once
#include "coordinator/cli/options.h"
#include "proto/base/error.h"

int verify_packed(const struct options *o, struct error *e);
