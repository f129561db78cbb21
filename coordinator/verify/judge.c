/* What was read, held against what it should be. */
#include <errno.h>
#include <string.h>

#include "coordinator/source/safetensors.h"
#include "coordinator/verify/verify.h"

static int judge_sums(struct verify *v, struct verify_item *x)
{
    char sha256[65], git[41];

    verify_hex(sha256, x->sha256, sizeof x->sha256);
    verify_hex(git, x->git_sha1, sizeof x->git_sha1);
    for (size_t i = 0; i < x->sums; i++) {
        struct verify_sum *s = &x->sum[i];
        const char *now = s->git ? git : sha256;

        if (s->git && !strcmp(now, "0000000000000000000000000000000000000000"))
            continue; /* too large to be one of git's blobs */
        s->compared = true;
        s->equal = !strcmp(s->hex, now);
        if (s->equal) continue;
        if (verify_find(v, FINDING_CHECKSUM, x->name, NULL,
                        "%s: its %s is %s, and %s says %s: the file is damaged or another one, download it again",
                        x->path, s->git ? "git SHA-1" : "sha256", now, s->source, s->hex))
            return -ENOMEM;
    }
    return 0;
}

static int judge_numbers(struct verify *v, const struct verify_tensor *t)
{
    const struct verify_item *x = &v->item[t->item];
    struct verify_finding *f;

    if (!x->read || (!t->nan && !t->inf)) return 0;
    if (verify_find(v, FINDING_NUMBERS, x->name, t->name,
                    "%s: tensor %s (%s): %llu NaN, %llu infinite of its numbers, the first at offset %llu%s", x->path,
                    t->name, t->dtype < TENSOR_DTYPES ? tensor_dtype_name(t->dtype) : form_name(t->form),
                    (unsigned long long)t->nan, (unsigned long long)t->inf, (unsigned long long)t->first,
                    v->packed && x->weights ? " of the unpacked file" : ""))
        return -ENOMEM;
    f = &v->finding[v->findings - 1];
    f->nan = t->nan;
    f->inf = t->inf;
    f->offset = t->first;
    return 0;
}

int verify_judge(struct verify *v, struct error *e)
{
    int rc = 0;

    for (size_t i = 0; i < v->items && !rc; i++)
        if (v->item[i].read) rc = judge_sums(v, &v->item[i]);
    for (size_t i = 0; i < v->tensors && !rc; i++) rc = judge_numbers(v, &v->tensor[i]);
    return rc ? error_set(e, ENOMEM, "%s: no memory for what was found", v->folder) : 0;
}
