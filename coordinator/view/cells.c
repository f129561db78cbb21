#include "coordinator/view/cells.h"

#include <utf8proc.h>

struct width {
    uint8_t least, most;
};

static bool is_emoji_part(uint32_t c)
{
    return c == 0x200D || (c >= 0xFE00 && c <= 0xFE0F) || (c >= 0x1F1E6 && c <= 0x1F1FF) ||
           (c >= 0x1F3FB && c <= 0x1F3FF) || (c >= 0xE0000 && c <= 0xE0FFF);
}

/* Han, kana, Hangul and full-width forms: two cells in every terminal. */
static bool is_surely_wide(uint32_t c)
{
    return (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xFF01 && c <= 0xFF5E) ||
           (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x3001 && c <= 0x3002) || (c >= 0x300C && c <= 0x300F);
}

/* Letters of alphabets: one cell, but where somebody has set ambiguous ones to two, which is rare enough to be known.
 */
static bool is_surely_narrow(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL: return utf8proc_charwidth((utf8proc_int32_t)c) == 1;
    default: return c == 0xA0;
    }
}

static struct width width_of(uint32_t c)
{
    if (c >= ' ' && c < 0x7F) return (struct width){1, 1};
    if (is_emoji_part(c)) return (struct width){0, 2};
    if (is_surely_wide(c)) return (struct width){2, 2};
    if (is_surely_narrow(c)) return (struct width){1, 1};
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN: return (struct width){0, 2};
    default: return c >= 0x1160 && c <= 0x11FF ? (struct width){0, 2} : (struct width){1, 2};
    }
}

/* n cells behind at; what does not fit the row begins the next one. */
static uint64_t forward(uint64_t at, uint32_t n, uint32_t width)
{
    uint64_t column = at % width;

    if (n > 1 && column + n > width && n <= width) at += width - column;
    return at + n;
}

/* Cells of the row that the cursor is in, its edge included. */
static uint64_t row_start(uint64_t at, uint32_t width)
{
    return at ? (at - 1) / width * width : 0;
}

static void add_tab(struct cells *c)
{
    uint64_t low = row_start(c->least, c->width), high = row_start(c->most, c->width), last = c->width - 1u;
    uint64_t from = c->least - low, to = ((c->most - high) | 7) + 1;

    /* At the edge some terminals stay there, and some forget that the row is full. */
    c->least = low + (from < last ? from + 1 : last);
    if (c->most - high < c->width) c->most = high + (to < last ? to : last);
}

void cells_begin(struct cells *c, uint32_t width)
{
    *c = (struct cells){.width = width ? width : 1};
}

void cells_resize(struct cells *c, uint32_t width)
{
    if (width == c->width || !width) return;
    c->width = width;
    if (c->most) c->lost = true;
}

void cells_add(struct cells *c, uint32_t character)
{
    struct width w;

    if (character == '\n') {
        cells_begin(c, c->width);
        return;
    }
    if (character == '\t') {
        add_tab(c);
        return;
    }
    w = width_of(character);
    if (c->joins) w.least = 0;
    c->joins = character == 0x200D;
    c->least = forward(c->least, w.least, c->width);
    c->most = forward(c->most, w.most, c->width);
}

bool cells_at_edge(const struct cells *c)
{
    uint64_t row = c->most / c->width * c->width; /* the last edge that may have been reached */

    return c->lost || (row && row >= c->least);
}

bool cells_in_one_row(const struct cells *from, const struct cells *to)
{
    return !from->lost && !to->lost && to->most <= row_start(from->least, from->width) + from->width;
}

bool cells_at_start(const struct cells *c)
{
    return !c->most && !c->lost;
}
