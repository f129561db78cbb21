/* The values that a GGUF file says of a model, out of the model's config and program: what gguf_config() makes a config of.
 * Most are told by the same functions that read them (gguf.h). */
#pragma once
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/model.h"
#include "coordinator/source/gguf_out.h"

struct gguf_telling {
    const struct config *config;
    const struct plan_shm *program;
    const uint8_t *slides; /* of each layer: does its attention see a window only */
    struct gguf_out *out;
    char **told; /* keys, the caller's of gguf_tell() not */
    size_t count;
    char unsaid[48];          /* a rule of rotation that files have no words for; "": none */
    bool failed;              /* no memory */
    const char *cannot, *why; /* a field of the config, and what it says that such a file cannot; NULL: all is told */
};

/* Rotary factors, which are tensors there. */
struct gguf_factors {
    float *divide, *longer, *shorter; /* malloc'ed, or NULL: none */
    size_t divides, longs, shorts;
};

/* inter: columns that the feed forward of a layer without experts has; 0: there is none. The caller frees f with
 * gguf_factors_free(), after an error too. */
int gguf_tell(struct gguf_out *out, struct gguf_factors *f, const struct gguf_family *family, const struct model *m,
              uint64_t inter, struct error *e);
void gguf_factors_free(struct gguf_factors *f);

/* The config says in this field what no file of the architecture can: gguf_tell() refuses, with the first of them. */
void gguf_tell_cannot(struct gguf_values *v, const char *field, const char *why);

/* ---- for gguf.c ---- */

/* rope_theta, rope_scaling and the share of a head that rotates (gguf_rope.c). */
void gguf_rotary(struct gguf_values *v);

/* Which layers slide, where it is not all but each otherwise-th. */
void gguf_tell_pattern(struct gguf_values *v, const char *key, uint64_t otherwise);
/* The number of keys' heads of each layer, 0 where it does not attend. */
void gguf_tell_mixed(struct gguf_values *v, const char *key);
/* What Mamba-2's layers are: ssm.*; nothing where values are read, or there are none. */
void gguf_mamba_tell(struct gguf_values *v);
/* Does any layer of the model that is told see a window only? */
bool gguf_tell_slides(const struct gguf_values *v);
