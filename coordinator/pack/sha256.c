#include "coordinator/pack/sha256.h"

#include <errno.h>
#include <openssl/evp.h>

int sha256_begin(struct sha256 *s, struct error *e)
{
    *s = (struct sha256){.context = EVP_MD_CTX_new()};
    if (s->context && EVP_DigestInit_ex(s->context, EVP_sha256(), NULL)) return 0;
    sha256_free(s);
    return error_set(e, ENOTSUP, "libcrypto gives no SHA-256 here");
}

void sha256_feed(struct sha256 *s, const void *data, size_t bytes)
{
    if (!EVP_DigestUpdate(s->context, data, bytes)) s->failed = 1;
}

int sha256_end(struct sha256 *s, uint8_t digest[PACKED_SHA256], struct error *e)
{
    if (!s->failed && EVP_DigestFinal_ex(s->context, digest, NULL)) return 0;
    return error_set(e, EIO, "libcrypto failed to sum up the bytes");
}

void sha256_free(struct sha256 *s)
{
    EVP_MD_CTX_free(s->context);
    s->context = NULL;
}
