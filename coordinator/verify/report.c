/* What verify found, for people and for programs. Names come from files: nothing in them may reach a terminal as a
 * command, and JSON takes valid UTF-8 only. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/source/safetensors.h"
#include "coordinator/text/utf8.h"
#include "coordinator/verify/verify.h"

#define EXTRA_LINES 20 /* of tensors that are not used, without -v */

/* A copy without control characters and broken UTF-8; free() it. NULL: no memory, or of NULL. */
static char *clean(const char *text)
{
    char *s = text ? strdup(text) : NULL;
    size_t bytes = s ? strlen(s) : 0, at = 0;

    while (at < bytes) {
        at += utf8_valid_bytes(s + at, bytes - at);
        if (at < bytes) s[at++] = '?';
    }
    if (s) utf8_no_controls(s);
    return s;
}

static double seconds(const struct verify *v)
{
    return (double)v->read_ns / 1e9;
}

/* ---- for people ---- */

static void put(const char *before, const char *text, const char *after)
{
    char *s = clean(text);

    printf("%s%s%s", before, s ? s : "?", after);
    free(s);
}

static void print_item(const struct verify_item *x)
{
    size_t equal = 0, compared = 0;

    put("  ", x->name, "");
    printf("  %.3f GB", (double)x->bytes / 1e9);
    for (size_t i = 0; i < x->sums; i++) {
        compared += x->sum[i].compared;
        equal += x->sum[i].compared && x->sum[i].equal;
    }
    if (!x->read)
        puts("  not read");
    else if (!compared)
        puts("  no published sum");
    else if (equal < compared)
        puts("  NOT as published");
    else
        put("  as published (", x->sum[0].source, ")\n");
}

static void print_extra(const struct verify *v, bool details)
{
    size_t n = 0;

    for (size_t i = 0; i < v->tensors && v->model_known; i++) {
        if (v->tensor[i].used || v->tensor[i].left_out) continue;
        if (details || n < EXTRA_LINES) put("    extra ", v->tensor[i].name, "\n");
        n++;
    }
    if (!details && n > EXTRA_LINES) printf("    and %zu more (-v shows them)\n", n - EXTRA_LINES);
}

static void print_human(const struct verify *v, bool details)
{
    double s = seconds(v);

    printf("%s: %zu files, %zu tensors, %.3f GB %s in %.2f s (%.2f GB/s)\n",
           v->model_known ? v->architecture : "model not understood", v->items, v->tensors, (double)v->bytes / 1e9,
           v->packed ? "unpacked" : "read", s, s > 0 ? (double)v->bytes / 1e9 / s : 0);
    for (size_t i = 0; i < v->items; i++)
        if (v->item[i].weights || v->item[i].sums || details) print_item(&v->item[i]);
    for (size_t i = 0; i < v->notes; i++) put("  note: ", v->note[i], "\n");
    print_extra(v, details);
    for (size_t i = 0; i < v->findings; i++) put("  WRONG: ", v->finding[i].text, "\n");
    if (!v->findings) puts("nothing is wrong");
}

/* ---- for programs ---- */

static json_t *text_json(const char *text)
{
    char *s = clean(text);
    json_t *o = s ? json_string(s) : json_null();

    free(s);
    return o;
}

static json_t *sums_json(const struct verify_item *x)
{
    json_t *list = json_array();

    for (size_t i = 0; i < x->sums; i++)
        json_array_append_new(list, json_pack("{s:o,s:s,s:s,s:b,s:b}", "source", text_json(x->sum[i].source), "kind",
                                              x->sum[i].git ? "git" : "sha256", "sum", x->sum[i].hex, "compared",
                                              x->sum[i].compared, "equal", x->sum[i].equal));
    return list;
}

static json_t *items_json(const struct verify *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->items; i++) {
        const struct verify_item *x = &v->item[i];
        char hex[65];

        json_array_append_new(list, json_pack("{s:o,s:I,s:b,s:b,s:o,s:o}", "name", text_json(x->name), "bytes",
                                              (json_int_t)x->bytes, "weights", x->weights, "read", x->read, "sha256",
                                              x->read ? json_string(verify_hex(hex, x->sha256, 32)) : json_null(),
                                              "published", sums_json(x)));
    }
    return list;
}

static json_t *findings_json(const struct verify *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->findings; i++) {
        const struct verify_finding *f = &v->finding[i];
        json_t *o = json_pack("{s:s,s:o,s:o,s:o}", "kind", verify_kind_name(f->kind), "file", text_json(f->file),
                              "tensor", text_json(f->tensor), "text", text_json(f->text));

        if (f->kind == FINDING_NUMBERS) {
            json_object_set_new(o, "nan", json_integer((json_int_t)f->nan));
            json_object_set_new(o, "infinite", json_integer((json_int_t)f->inf));
            json_object_set_new(o, "first_offset", json_integer((json_int_t)f->offset));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *unused_json(const struct verify *v, bool left_out)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->tensors && v->model_known; i++)
        if (!v->tensor[i].used && v->tensor[i].left_out == left_out)
            json_array_append_new(list, text_json(v->tensor[i].name));
    return list;
}

static json_t *notes_json(const struct verify *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->notes; i++) json_array_append_new(list, text_json(v->note[i]));
    return list;
}

static int print_json(const struct verify *v, struct error *e)
{
    double s = seconds(v);
    json_t *o = json_pack("{s:b,s:o,s:I,s:I,s:I,s:f,s:f,s:o,s:o,s:o,s:o,s:o}", "ok", v->findings == 0, "architecture",
                          v->model_known ? json_string(v->architecture) : json_null(), "tensors",
                          (json_int_t)v->tensors, "bytes", (json_int_t)v->bytes, "stored_bytes",
                          (json_int_t)v->stored_bytes, "seconds", s, "bytes_per_second",
                          s > 0 ? (double)v->bytes / s : 0.0, "files", items_json(v), "extra", unused_json(v, false),
                          "left_out", unused_json(v, true), "notes", notes_json(v), "findings", findings_json(v));
    int rc = o && !json_dumpf(o, stdout, JSON_INDENT(2)) && putchar('\n') != EOF
                 ? 0
                 : error_set(e, EIO, "cannot write the report");

    json_decref(o);
    return rc;
}

int verify_print(const struct verify *v, bool json, bool details, struct error *e)
{
    if (json) return print_json(v, e);
    print_human(v, details);
    return 0;
}
