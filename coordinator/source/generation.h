/* generation_config.json: what a folder's makers recommend for generating. See struct model_generation. */
#pragma once
#include "coordinator/source/config.h"
#include "coordinator/arch/model.h"

/* A folder without the file has config.json's ids alone. g is freed by generation_free(), after an error too. */
int generation_read(struct model_generation *g, const char *folder, const struct config *c, struct error *e);
void generation_free(struct model_generation *g);
