/* Mutations of JSON that stay JSON: most changes of single bytes are refused by the parser and reach nothing behind it. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Changes one to three values or keys of the document data[0..bytes), which has room for most bytes. The new length, or 0
 * where it is no document (data is as it was then). */
size_t fuzz_json_mutate(uint8_t *data, size_t bytes, size_t most, uint64_t seed);
