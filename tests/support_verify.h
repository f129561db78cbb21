/* `sluice verify --json` as tests want it, and damage to a folder's files. */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/tensors.h"
#include "tests/support_process.h"

#define VERIFY_SECONDS 30
#define WEIGHTS        "model.safetensors"

extern struct process_result verify_last; /* of the call that was last */

/* The report, the caller's, of a call that ends with this status; VERIFY(status, arguments...). */
json_t *verify_with(const char *const *arg, int status, int line);
#define VERIFY(status, ...) verify_with((const char *const[]){"verify", "--json", __VA_ARGS__, NULL}, status, __LINE__)
/* Its one finding, of this kind, that says so, the caller's; takes the report. ONLY(kind, says, arguments...). */
json_t *verify_only(json_t *report, const char *kind, const char *says, int line);
#define ONLY(kind, says, ...) json_decref(verify_only(VERIFY(1, __VA_ARGS__), kind, says, __LINE__))
/* That nothing is found. */
void verify_clean(const char *folder, int line);
#define CLEAN(folder) verify_clean(folder, __LINE__)
const char *verify_text(const json_t *o, const char *key); /* "" where there is none */
void verify_sum_of(const char *folder, const char *name, char hex[65]);

void file_append(const char *folder, const char *name, const char *text);
void file_patch(const char *folder, const char *name, uint64_t offset, const void *bytes, size_t n);
/* Changes text within a file's header to another of the same length. */
void file_patch_text(const char *folder, const char *name, const char *from, const char *to);
struct tensor tensor_in(const char *folder, const char *name); /* its shape until the next call */
