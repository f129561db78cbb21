#include "proto/form.h"

#include <assert.h>
#include <stddef.h>

#define CODES(first, count, each, ones, rest)                                                                          \
    .code_off = (first), .codes = (count), .code_bytes = (each), .special = UINT64_C(ones), .fraction = UINT64_C(rest)
#define INFO(row, block_elements, block_bytes, word, wide, where, rows, cols, forms, also, code, fill)                 \
    .name = #row, .elements = (block_elements), .bytes = (block_bytes), .align = (word), .to = FORM_##wide,            \
    .scales = FORM_SCALES_##where, .grid_rows = (rows), .grid_cols = (cols), .scale_forms = (forms), CODES code,       \
    .filler = (fill)
#define WEIGHT(row, ...)                                                                   [FORM_##row] = {INFO(row, __VA_ARGS__), .can_be = FORM_WEIGHT | ALSO(__VA_ARGS__)},
#define OTHER(row, ...)                                                                    [FORM_##row] = {INFO(row, __VA_ARGS__), .can_be = ALSO(__VA_ARGS__)},
#define ALSO(block_elements, block_bytes, word, wide, where, rows, cols, forms, also, ...) (also)
static const struct form_info table[FORMS] = {FORM_WEIGHTS(WEIGHT) FORM_TURNEDS(OTHER) FORM_OTHERS(OTHER)};
#undef WEIGHT
#undef OTHER

/* What the readers of the table rely on. */
#define SOUND(row, block_elements, block_bytes, word, ...)                                                             \
    static_assert((block_elements) > 0 && (block_bytes) > 0 && (block_bytes) <= FORM_BLOCK_MOST &&                     \
                      (block_bytes) % (word) == 0 && ((word) & ((word)-1)) == 0,                                       \
                  #row);
FORM_TABLE(SOUND)
#undef SOUND
static_assert(FORMS <= 64, "sets of forms are bits of uint64_t");

const struct form_info *form_info(uint32_t form)
{
    return form < FORMS ? &table[form] : NULL;
}

const char *form_name(uint32_t form)
{
    return form < FORMS ? table[form].name : "unknown";
}

uint64_t form_row_bytes(uint32_t form, uint64_t cols)
{
    const struct form_info *f = form_info(form);
    uint64_t bytes;

    if (!f || cols % f->elements || __builtin_mul_overflow(cols / f->elements, f->bytes, &bytes)) return 0;
    return bytes;
}

bool form_can_be(uint32_t form, uint32_t what)
{
    return form < FORMS && (table[form].can_be & what) != 0;
}

bool form_can_be_table(uint32_t form)
{
    return form_can_be(form, FORM_WEIGHT) && table[form].scales != FORM_SCALES_GRID;
}

bool form_can_be_vector(uint32_t form)
{
    return form_can_be_table(form) && table[form].elements == 1;
}

bool form_scaled_by(uint32_t form, uint32_t scale_form)
{
    return form < FORMS && scale_form < FORMS && (table[form].scale_forms >> scale_form & 1u) != 0;
}
