/* SHA-256 of bytes that come in pieces, by libcrypto, which uses the processor's own instructions where it has them. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/packed.h"
#include "proto/base/error.h"

struct sha256 {
    void *context; /* EVP_MD_CTX */
    int failed;
};

int sha256_begin(struct sha256 *s, struct error *e);
void sha256_feed(struct sha256 *s, const void *data, size_t bytes);
/* 0, or -EIO where the library has failed meanwhile. */
int sha256_end(struct sha256 *s, uint8_t digest[PACKED_SHA256], struct error *e);
/* In every case, once it has begun. */
void sha256_free(struct sha256 *s);
