/* From offsets of the original files, with which a family names its weights, to where they lie in packed ones
 * (source/packed.h): matrices that are packed get their units, all others their new offsets. */
#pragma once
#include <stdint.h>
#include "coordinator/arch/program.h"
#include "coordinator/source/tensors.h"

/* file_of: of each of the tensors' files, its number in the program. *bytes, of all weights, becomes that of what is stored.
 * Does nothing where t is not packed. -EINVAL: a matrix is not whole units. */
int packed_place(struct program *p, const struct tensors *t, const uint32_t *file_of, uint64_t *bytes, struct error *e);
