/* What the values of a GGUF are, with types. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "coordinator/source/gguf.h"

int gguf_fault(const struct gguf *g, struct error *e, const char *key, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (e->code) return -e->code;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(e, EINVAL, "%s: %s: %s", g->files[0].path, key, text);
}

static uint64_t bits(const uint8_t *p, uint32_t bytes)
{
    uint64_t x = 0;

    for (uint32_t i = bytes; i-- > 0;) x = x << 8 | p[i];
    return x;
}

int64_t gguf_int(const struct gguf_value *v, uint64_t i)
{
    uint64_t x;

    switch (v->type) {
    case GGUF_U8:
    case GGUF_BOOL: return v->at[i];
    case GGUF_I8: return (int8_t)v->at[i];
    case GGUF_U16: return (uint16_t)bits(v->at + 2 * i, 2);
    case GGUF_I16: return (int16_t)bits(v->at + 2 * i, 2);
    case GGUF_U32: return (uint32_t)bits(v->at + 4 * i, 4);
    case GGUF_I32: return (int32_t)bits(v->at + 4 * i, 4);
    case GGUF_I64: return (int64_t)bits(v->at + 8 * i, 8);
    case GGUF_U64: x = bits(v->at + 8 * i, 8); return x > INT64_MAX ? INT64_MAX : (int64_t)x;
    default: return 0;
    }
}

double gguf_float(const struct gguf_value *v, uint64_t i)
{
    uint32_t word;
    uint64_t wide;
    float f;
    double d;

    switch (v->type) {
    case GGUF_F32:
        word = (uint32_t)bits(v->at + 4 * i, 4);
        memcpy(&f, &word, sizeof f);
        return (double)f;
    case GGUF_F64:
        wide = bits(v->at + 8 * i, 8);
        memcpy(&d, &wide, sizeof d);
        return d;
    case GGUF_U64: return (double)bits(v->at + 8 * i, 8);
    default: return (double)gguf_int(v, i);
    }
}

bool gguf_truth(const struct gguf_value *v, uint64_t i)
{
    return gguf_int(v, i) != 0;
}

const char *gguf_text(const struct gguf_value *v, uint64_t i, size_t *bytes)
{
    if (bytes) *bytes = v->string_at[i + 1] - 8 - v->string_at[i];
    return (const char *)v->at + v->string_at[i] - 1;
}

bool gguf_is_kind(const struct gguf_value *v, enum gguf_kind kind)
{
    switch (v->type) {
    case GGUF_STRING: return kind == GGUF_STRINGS;
    case GGUF_BOOL: return kind == GGUF_BOOLS || kind == GGUF_INTS;
    case GGUF_F32:
    case GGUF_F64: return kind == GGUF_FLOATS;
    default: return kind == GGUF_INTS || kind == GGUF_BOOLS;
    }
}

static const char *type_name(const struct gguf_value *v)
{
    static const char *const names[GGUF_TYPES] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                  "bool", "string", "array", "u64", "i64", "f64"};

    return names[v->type];
}

static int wrong_type(const struct gguf *g, struct error *e, const struct gguf_value *v, const char *wanted)
{
    return gguf_fault(g, e, v->key,
                      "it is %s of type %s, and %s was expected: the file was made by a program that errs",
                      v->array ? "an array" : "a value", type_name(v), wanted);
}

/* A single value of that kind, or its error. */
static int single(const struct gguf *g, const char *key, enum gguf_kind kind, const char *wanted,
                  const struct gguf_value **out, struct error *e)
{
    const struct gguf_value *v = gguf_find(g, key);

    if (!v) return -ENOENT;
    if (v->array || !gguf_is_kind(v, kind)) return wrong_type(g, e, v, wanted);
    *out = v;
    return 0;
}

int gguf_u64(const struct gguf *g, const char *key, uint64_t *out, struct error *e)
{
    const struct gguf_value *v;
    int rc = single(g, key, GGUF_INTS, "a whole number", &v, e);

    if (rc) return rc;
    if (v->type != GGUF_U64 && gguf_int(v, 0) < 0)
        return gguf_fault(g, e, key, "%lld is less than 0", (long long)gguf_int(v, 0));
    *out = v->type == GGUF_U64 ? bits(v->at, 8) : (uint64_t)gguf_int(v, 0);
    return 0;
}

int gguf_i64(const struct gguf *g, const char *key, int64_t *out, struct error *e)
{
    const struct gguf_value *v;
    int rc = single(g, key, GGUF_INTS, "a whole number", &v, e);

    if (rc) return rc;
    if (v->type == GGUF_U64 && bits(v->at, 8) > INT64_MAX) return gguf_fault(g, e, key, "out of range");
    *out = gguf_int(v, 0);
    return 0;
}

int gguf_f64(const struct gguf *g, const char *key, double *out, struct error *e)
{
    const struct gguf_value *v = gguf_find(g, key);

    if (!v) return -ENOENT;
    if (v->array || v->type == GGUF_STRING || v->type == GGUF_BOOL) return wrong_type(g, e, v, "a number");
    if (!isfinite(gguf_float(v, 0))) return gguf_fault(g, e, key, "it is no finite number");
    *out = gguf_float(v, 0);
    return 0;
}

int gguf_bool(const struct gguf *g, const char *key, bool *out, struct error *e)
{
    const struct gguf_value *v;
    int rc = single(g, key, GGUF_BOOLS, "a boolean", &v, e);

    if (!rc) *out = gguf_truth(v, 0);
    return rc;
}

int gguf_string(const struct gguf *g, const char *key, const char **out, size_t *bytes, struct error *e)
{
    const struct gguf_value *v;
    int rc = single(g, key, GGUF_STRINGS, "a string", &v, e);

    if (!rc) *out = gguf_text(v, 0, bytes);
    return rc;
}

int gguf_array(const struct gguf *g, const char *key, enum gguf_kind kind, const struct gguf_value **out,
               struct error *e)
{
    static const char *const kinds[] = {"an array of whole numbers", "an array of floating-point numbers",
                                        "an array of booleans", "an array of strings"};
    const struct gguf_value *v = gguf_find(g, key);

    if (!v) return -ENOENT;
    if (!v->array || !gguf_is_kind(v, kind)) return wrong_type(g, e, v, kinds[kind]);
    *out = v;
    return 0;
}
