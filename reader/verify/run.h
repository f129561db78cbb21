/* A whole job: as many lanes as there are files and processors for. */
#pragma once
#include "proto/base/error.h"
#include "proto/verify.h"

int verify_run(struct verify_shm *job, struct error *e);
