#include "coordinator/view/live.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/view/stop.h"
#include "coordinator/view/terminal.h"
#include "proto/base/clock.h"
#include "proto/base/printable.h"
#include "proto/base/utf8.h"

#define SAVE      "\0337"
#define RESTORE   "\0338"
#define ERASE_ROW "\033[K" /* from the cursor on */
/* And all rows below. The row first, or tmux puts it into its history where it is the first one of the screen. */
#define ERASE      ERASE_ROW "\033[J"
#define MAKE_ROW   "\033D\033[A" /* below this one there is a row now; the column is as before */
#define ROW_BELOW  "\033[B\r"
#define LINE_BYTES 512

/* What a shell finds after Ctrl-Z: an empty row, and nothing of the line. The key itself may have been shown. */
#define UNDO_AT_START "\r" ERASE
#define UNDO_IN_TEXT  "\r\n" ERASE

#define WIDTH_LEAST 10 /* of a terminal in which a line is of use */
#define ROWS_LEAST  2
#define RESIZING_NS UINT64_C(600000000)

/* The process may have been stopped, or the terminal resized, since the last look. */
static void look(struct live *l)
{
    int columns, rows;

    terminal_size(STDERR_FILENO, &columns, &rows);
    if (columns != l->columns || rows != l->rows) {
        if (l->columns) l->resized_ns = clock_ns();
        l->columns = columns;
        l->rows = rows;
    }
    if (l->stops != stop_count()) {
        l->stops = stop_count();
        l->shown = false;
        cells_begin(&l->cells, (uint32_t)columns); /* see UNDO */
    }
    cells_resize(&l->cells, (uint32_t)columns);
}

static bool may_draw(const struct live *l)
{
    if (l->columns < WIDTH_LEAST || l->rows < ROWS_LEAST || (l->shared && cells_at_edge(&l->cells))) return false;
    return !l->resized_ns || clock_ns() - l->resized_ns >= RESIZING_NS;
}

static void arm(const struct live *l)
{
    stop_undo(STOP_LINE, STDERR_FILENO, cells_at_start(&l->cells) ? UNDO_AT_START : UNDO_IN_TEXT);
}

void live_open(struct live *l, bool quiet)
{
    *l = (struct live){.wanted = !quiet && terminal_escapes(STDERR_FILENO)};
    l->shared = l->wanted && terminal_same(STDOUT_FILENO, STDERR_FILENO);
    l->dim = l->wanted && terminal_color(STDERR_FILENO);
    l->stops = stop_count();
    if (!l->wanted) return;
    look(l);
    cells_begin(&l->cells, (uint32_t)l->columns);
    stop_watch();
}

/* ---- the line ---- */

void live_draw(struct live *l, const char *line)
{
    const char *on = l->dim ? TERMINAL_DIM : "", *off = l->dim ? TERMINAL_PLAIN : "";
    char text[LINE_BYTES], sequence[LINE_BYTES + 64];
    size_t n = 0;

    if (!l->wanted) return;
    fflush(stdout);
    look(l);
    if (!may_draw(l)) return;
    printable_line(text, sizeof text, line);
    while (n + 1 < (size_t)l->columns && text[n] > 0) n++; /* of ASCII each byte is a cell */
    text[n] = 0;
    l->in_place = !l->shared || cells_at_start(&l->cells);
    if (!l->shared)
        snprintf(sequence, sizeof sequence, "\r" ERASE_ROW "%s%s%s\r", on, text, off);
    else
        snprintf(sequence, sizeof sequence, "%s" SAVE "%s" TERMINAL_PLAIN "%s%s%s" RESTORE,
                 l->in_place ? ERASE_ROW : ERASE MAKE_ROW, l->in_place ? "" : ROW_BELOW, on, text, off);
    l->shown = true;
    arm(l);
    terminal_raw(stderr, sequence);
}

static void erase(struct live *l)
{
    const char *what = !l->shared ? "\r" ERASE_ROW : l->in_place && !l->resized_ns ? ERASE_ROW : ERASE;

    terminal_raw(stderr, what);
    l->shown = false;
}

void live_hide(struct live *l)
{
    if (!l->wanted) return;
    look(l);
    /* At the edge the next character of the text, its newline most likely, takes it away. */
    if (l->shown && !(l->shared && cells_at_edge(&l->cells))) erase(l);
    if (!l->shown) stop_undo(STOP_LINE, STDERR_FILENO, NULL);
}

void live_interrupt(struct live *l)
{
    if (!l->wanted) return;
    look(l);
    if (l->shared && !cells_at_start(&l->cells)) {
        terminal_raw(stderr, "\r\n");
        cells_begin(&l->cells, l->cells.width);
    }
    live_hide(l);
}

void live_close(struct live *l)
{
    if (!l->wanted) return;
    live_interrupt(l);
    stop_undo(STOP_LINE, STDERR_FILENO, NULL);
}

/* ---- the text ---- */

/* The character at text, as it is shown, and its bytes. */
static uint32_t shown_character(const char *text, size_t bytes, size_t *n)
{
    size_t refused = printable_refused(text, bytes);

    if (!refused) return utf8_decode(text, n);
    *n = refused;
    return 0xFFFD;
}

static void follow(struct cells *c, const char *text, size_t bytes)
{
    for (size_t at = 0, n; at < bytes; at += n) cells_add(c, shown_character(text + at, bytes - at, &n));
}

/* Does the row that the cursor is in surely hold all of it, so that the line below may stay? Not where the cursor could
 * then be at the edge or not. */
static bool stays_in_row(const struct live *l, const char *text, size_t bytes)
{
    struct cells c = l->cells;

    if (c.lost || cells_at_start(&c) || memchr(text, '\n', bytes))
        return false; /* at the start the line itself is in it */
    follow(&c, text, bytes);
    return cells_in_one_row(&l->cells, &c) && (c.least == c.most || !cells_at_edge(&c));
}

/* Bytes after which the cursor is surely not at the edge, so that the line can be taken away; SIZE_MAX: none of them.
 */
static size_t safe_after(const struct live *l, const char *text, size_t bytes)
{
    struct cells c = l->cells;
    size_t at = 0, n;

    while (cells_at_edge(&c)) {
        if (at == bytes) return SIZE_MAX;
        cells_add(&c, shown_character(text + at, bytes - at, &n));
        at += n;
    }
    return at;
}

static int put(struct live *l, const char *text, size_t bytes)
{
    if (fwrite(text, 1, bytes, stdout) != bytes || fflush(stdout)) return -(errno ? errno : EIO);
    follow(&l->cells, text, bytes);
    return 0;
}

int live_text(struct live *l, const char *text, size_t bytes)
{
    size_t first = 0;
    int rc = 0;

    errno = 0;
    if (!l->shared) {
        if (l->shown) erase(l);
        return fwrite(text, 1, bytes, stdout) != bytes || fflush(stdout) ? -(errno ? errno : EIO) : 0;
    }
    look(l);
    if (l->shown && !stays_in_row(l, text, bytes)) {
        bool tab = bytes && *text == '\t' && cells_at_edge(&l->cells); /* terminals differ in what it does there */

        first = tab ? 1 : safe_after(l, text, bytes);
        if (first == SIZE_MAX)
            first = 0;
        else {
            rc = tab ? put(l, "        ", 8) : put(l, text, first);
            erase(l);
        }
    }
    if (!rc) rc = put(l, text + first, bytes - first);
    arm(l);
    return rc;
}

void live_echoed(struct live *l, const char *text, size_t bytes)
{
    follow(&l->cells, text, bytes);
}
