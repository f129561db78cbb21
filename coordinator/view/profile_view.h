/* A profile for people, and as JSON: {"reader": {"bytes_per_second": ..., "ceiling_bytes_per_second": ..., ...}}. */
#pragma once
#include "coordinator/profile/profile.h"
#include "proto/base/error.h"

void profile_print(const struct profile *p);
int profile_print_json(const struct profile *p, struct error *e);
