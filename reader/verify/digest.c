#include "reader/verify/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

int digest_begin(struct digest *d, uint64_t file_bytes, bool git)
{
    char head[32];
    size_t n = (size_t)snprintf(head, sizeof head, "blob %llu", (unsigned long long)file_bytes) + 1;

    *d = (struct digest){.sha256 = EVP_MD_CTX_new(), .sha1 = git ? EVP_MD_CTX_new() : NULL};
    if (!d->sha256 || (git && !d->sha1)) return -ENOMEM;
    if (!EVP_DigestInit_ex(d->sha256, EVP_sha256(), NULL)) return -ENOTSUP;
    if (!git) return 0;
    return EVP_DigestInit_ex(d->sha1, EVP_sha1(), NULL) && EVP_DigestUpdate(d->sha1, head, n) ? 0 : -ENOTSUP;
}

int digest_feed(struct digest *d, const uint8_t *p, uint64_t bytes)
{
    bool good = EVP_DigestUpdate(d->sha256, p, bytes) && (!d->sha1 || EVP_DigestUpdate(d->sha1, p, bytes));

    return good ? 0 : -EIO;
}

int digest_end(struct digest *d, struct verify_file *f)
{
    bool good =
        EVP_DigestFinal_ex(d->sha256, f->sha256, NULL) && (!d->sha1 || EVP_DigestFinal_ex(d->sha1, f->git_sha1, NULL));

    return good ? 0 : -EIO;
}

void digest_free(struct digest *d)
{
    EVP_MD_CTX_free(d->sha256);
    EVP_MD_CTX_free(d->sha1);
    *d = (struct digest){0};
}
