#include "coordinator/source/generation.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ENDS_MAX       4096 /* of one file */
#define FILE_BYTES_MAX (UINT64_C(4) << 20)

static int fault(struct error *e, const char *path, const char *key, const char *what)
{
    return error_set(e, EINVAL, "%s: %s: %s", path, key, what);
}

void generation_begin(struct model_generation *g)
{
    *g = (struct model_generation){
        .bos = -1, .pad = -1, .top_k = -1, .temperature = NAN, .top_p = NAN, .min_p = NAN, .repeat_penalty = NAN};
}

int generation_add_end(struct model_generation *g, uint32_t id, enum generation_file from, struct error *e)
{
    uint32_t *eos;
    uint8_t *eos_from;

    for (size_t i = 0; i < g->eos_count; i++)
        if (g->eos[i] == id) {
            g->eos_from[i] |= (uint8_t)from;
            return 0;
        }
    eos = reallocarray(g->eos, g->eos_count + 1, sizeof *eos);
    if (eos) g->eos = eos;
    eos_from = reallocarray(g->eos_from, g->eos_count + 1, sizeof *eos_from);
    if (eos_from) g->eos_from = eos_from;
    if (!eos || !eos_from) return error_set(e, ENOMEM, "no memory for the tokens that end an answer");
    g->eos_from[g->eos_count] = (uint8_t)from;
    g->eos[g->eos_count++] = id;
    return 0;
}

static int add_eos(struct model_generation *g, const json_t *v, enum generation_file from, const char *path,
                   struct error *e)
{
    int64_t id;

    if (!json_whole(v, &id) || id < -1 || id > UINT32_MAX)
        return fault(e, path, "eos_token_id", "not a token's number");
    return id < 0 ? 0 : generation_add_end(g, (uint32_t)id, from, e);
}

/* One id or a list of them. */
static int read_eos(struct model_generation *g, const json_t *v, enum generation_file from, const char *path,
                    struct error *e)
{
    int rc = 0;

    if (!v || json_is_null(v)) return 0;
    if (json_array_size(v) > ENDS_MAX) return fault(e, path, "eos_token_id", "more tokens than end a text");
    if (!json_is_array(v)) return add_eos(g, v, from, path, e);
    for (size_t i = 0; i < json_array_size(v) && !rc; i++) rc = add_eos(g, json_array_get(v, i), from, path, e);
    return rc;
}

static void read_id(int64_t *id, const json_t *v)
{
    int64_t n;

    if (*id < 0 && json_whole(v, &n)) *id = n;
}

static int read_ids(struct model_generation *g, const json_t *o, enum generation_file from, const char *path,
                    struct error *e)
{
    read_id(&g->bos, json_object_get(o, "bos_token_id"));
    read_id(&g->pad, json_object_get(o, "pad_token_id"));
    return read_eos(g, json_object_get(o, "eos_token_id"), from, path, e);
}

static int read_number(double *out, const json_t *o, const char *key, double min, double max, const char *path,
                       struct error *e)
{
    const json_t *v = json_object_get(o, key);
    double x;

    if (!v || json_is_null(v)) return 0;
    if (!json_is_numeric(v)) return fault(e, path, key, "not a number");
    x = json_numeric_value(v);
    if (isnan(x)) return 0; /* as if it were not given: Python writes it where a value is not known */
    if (x < min || x > max)
        return error_set(e, EINVAL, "%s: %s is %g, and can be from %g to %g: correct it, or take the entry out", path,
                         key, x, min, max);
    *out = x;
    return 0;
}

/* -1 is what some write for no limit. */
static int read_top_k(int64_t *out, const json_t *o, const char *path, struct error *e)
{
    double x = NAN;
    int rc = read_number(&x, o, "top_k", -1, TOP_K_MOST, path, e);

    if (rc || isnan(x)) return rc;
    if (x != floor(x)) return fault(e, path, "top_k", "not a whole number");
    *out = (int64_t)x;
    return 0;
}

static int read_sampling(struct model_generation *g, const json_t *o, const char *path, struct error *e)
{
    const json_t *sample = json_object_get(o, "do_sample");
    int rc;

    g->has_do_sample = json_is_boolean(sample);
    g->do_sample = json_is_true(sample);
    rc = read_number(&g->temperature, o, "temperature", 0, TEMPERATURE_MOST, path, e);
    if (!rc) rc = read_number(&g->top_p, o, "top_p", 0, 1, path, e);
    if (!rc) rc = read_number(&g->min_p, o, "min_p", 0, 1, path, e);
    if (!rc)
        rc = read_number(&g->repeat_penalty, o, "repetition_penalty", REPEAT_PENALTY_LEAST, REPEAT_PENALTY_MOST, path,
                         e);
    return rc ? rc : read_top_k(&g->top_k, o, path, e);
}

static int read_file(struct model_generation *g, const char *folder, struct error *e)
{
    char *path = NULL;
    json_t *o = NULL;
    int rc;

    if (asprintf(&path, "%s/generation_config.json", folder) < 0) return error_set(e, ENOMEM, "%s: no memory", folder);
    rc = json_read_file(&o, path, FILE_BYTES_MAX, e);
    if (rc == -ENOENT) {
        rc = 0;
        e->code = 0;
    } else if (!rc) {
        rc = read_ids(g, o, GENERATION_FILE, path, e);
        if (!rc) rc = read_sampling(g, o, path, e);
    }
    json_decref(o);
    free(path);
    return rc;
}

int generation_read(struct model_generation *g, const char *folder, const struct config *c, struct error *e)
{
    int rc;

    generation_begin(g);
    rc = read_file(g, folder, e);
    if (!rc) rc = read_ids(g, c->text, GENERATION_CONFIG, c->path, e);
    if (!rc && c->root != c->text) rc = read_ids(g, c->root, GENERATION_CONFIG, c->path, e);
    return rc;
}

void generation_free(struct model_generation *g)
{
    free(g->eos);
    free(g->eos_from);
    g->eos = NULL;
    g->eos_from = NULL;
    g->eos_count = 0;
}
