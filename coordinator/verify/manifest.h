/* The manifest: what sha256sum writes and checks (`cd MODEL && sha256sum -c MANIFEST`), with sizes in comments.
 *
 *   # sluice verify: 2 files
 *   # 123456 bytes: model.safetensors
 *   2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae  model.safetensors
 */
#pragma once
#include <stdio.h>
#include "coordinator/verify/verify.h"

/* Of all files that were read. */
void manifest_write(const struct verify *v, FILE *f);
/* Findings where v is not what the manifest at path says; any list of sha256sum will do. */
int manifest_compare(struct verify *v, const char *path, struct error *e);
