/* SHA-256 of a file's bytes, and the name that git gives a blob of them (SHA-1), through libcrypto, which uses the
 * processor's SHA instructions where it has them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/verify.h"

struct digest {
    void *sha256, *sha1; /* EVP_MD_CTX; sha1: NULL where it is not wanted */
};

/* git: the blob's name too. -ENOMEM, or -ENOTSUP where the library refuses the algorithm. */
int digest_begin(struct digest *d, uint64_t file_bytes, bool git);
int digest_feed(struct digest *d, const uint8_t *p, uint64_t bytes);
int digest_end(struct digest *d, struct verify_file *f);
void digest_free(struct digest *d);
