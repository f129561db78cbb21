/* The live line below an answer: whatever the terminal's width, and whatever stands at its edge, no character of the
 * answer is lost. In a real terminal (tmux), where this program writes a text in pieces and draws the line after each.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/view/cells.h"
#include "coordinator/view/live.h"
#include "coordinator/view/terminal.h"
#include "tests/support_temporary.h"
#include "tests/support_tmux.h"
#include "tests/support_victims.h"

/* What the line is made of stands in no text. */
#define LINE                                                                                                           \
    "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~" \
    "~~~~~~"

static char folder[TEMPORARY_BYTES], self[PATH_MAX];

static int setup(void **state)
{
    (void)state;
    return readlink("/proc/self/exe", self, sizeof self - 1) > 0 && temporary_make(folder, NULL) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    tmux_end();
    temporary_remove(folder);
    return 0;
}

/* ---- inside of the terminal: test_live --write FOLDER PIECE ---- */

static size_t character_bytes(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

static void say(const char *name)
{
    char path[TEMPORARY_BYTES + 16];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "w");
    if (f) fclose(f);
}

static bool said(const char *name)
{
    char path[TEMPORARY_BYTES + 16];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return !access(path, F_OK);
}

static void take_back(const char *name)
{
    char path[TEMPORARY_BYTES + 16];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

/* A \001 in the text is where it waits for a resize; both sides see the other's files. */
static int write_text(char **argv)
{
    static char text[1 << 16];
    char path[PATH_MAX];
    struct live l;
    size_t n, at = 0, piece = (size_t)atoi(argv[1]);
    FILE *f;

    snprintf(folder, sizeof folder, "%s", argv[0]);
    snprintf(path, sizeof path, "%s/text", folder);
    f = fopen(path, "r");
    if (!f || terminal_streams()) return 1;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    live_open(&l, false);
    live_draw(&l, LINE);
    while (at < n) {
        size_t from = at;

        for (size_t i = 0; i < piece && at < n && text[at] != '\001'; i++)
            at += character_bytes((unsigned char)text[at]);
        if (at > from && live_text(&l, text + from, at - from)) return 1;
        live_draw(&l, LINE);
        if (at < n && text[at] == '\001') {
            at++;
            say("waits");
            while (!said("goes")) nap_ms(5);
            take_back("goes");
            live_draw(&l, LINE);
        }
    }
    live_hide(&l);
    live_close(&l);
    say("done");
    pause();
    return 0;
}

/* ---- outside ---- */

static void wait_for(const char *name)
{
    for (int i = 0; i < 4000 && !said(name); i++) nap_ms(5);
    if (!said(name)) fail_msg("no %s; shown is:\n%s", name, tmux_text());
    take_back(name);
}

static void start(const char *text, int columns, int rows, int piece)
{
    char path[PATH_MAX], command[3 * PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/text", folder);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
    snprintf(command, sizeof command, "exec '%s' --write '%s' %d", self, folder, piece);
    tmux_start(folder, columns, rows, command);
}

/* Without white space: where it wraps, a terminal may fill the row up with some; tabs become some. */
static size_t dense(char *to, const char *text, const char *without)
{
    size_t n = 0;

    for (; *text; text++)
        if (!strchr(" \t\r\n\001", *text) && !strchr(without, *text)) to[n++] = *text;
    to[n] = 0;
    return n;
}

/* All of the text is there, in order, and nothing else; of the line some may be left after a resize. */
static void compare(const char *text, bool resized, const char *what)
{
    static char want[1 << 16], got[1 << 16];

    dense(want, text, "");
    dense(got, tmux_text(), resized ? "~" : "");
    if (strcmp(want, got)) {
        size_t i = 0;

        while (want[i] && want[i] == got[i]) i++;
        fail_msg("%s: after \"%.*s\" come \"%.30s\", not \"%.30s\"; shown is:\n%s", what, (int)(i < 40 ? i : 40),
                 want + (i < 40 ? 0 : i - 40), got + i, want + i, tmux_text());
    }
}

static char *repeat(char *to, const char *what, size_t times)
{
    while (times--) to = stpcpy(to, what);
    return to;
}

/* n letters, of which each can be told from its neighbours. */
static char *letters(char *to, size_t n)
{
    for (size_t i = 0; i < n; i++) *to++ = (char)("abcdefghijklmnopqrstuvwxyz0123456789"[i % 36]);
    *to = 0;
    return to;
}

/* Whatever may stand at the edge of w columns. */
static void edges(char *to, size_t w)
{
    for (size_t n = w - 2; n <= w + 2; n++) { /* rows that are nearly full, full, and a little more */
        to = letters(to, n);
        to = stpcpy(to, "\nX\n");
    }
    to = letters(to, 3 * w); /* full rows one after the other, and a newline at the edge */
    to = stpcpy(to, "\n");
    to = letters(to, 5 * w + 7);
    to = stpcpy(to, "\n\n");
    for (size_t n = w - 3; n <= w; n++) { /* a wide character where one cell, or none, is left */
        to = letters(to, n);
        to = stpcpy(to, "\xE6\x97\xA5\xE6\x9C\xACx\n");
    }
    to = repeat(to, "\xE6\x97\xA5", 2 * w);
    to = stpcpy(to, "\nx");
    to = repeat(to, "\xED\x95\x9C", w);
    to = stpcpy(to, "\n");
    for (size_t n = w - 9; n <= w; n++) { /* a tab near the edge and at it */
        to = letters(to, n);
        to = stpcpy(to, "\tT\n\t");
    }
    to = stpcpy(to, "\n");
    /* what terminals disagree about: emoji, joined and with a colour, flags, dashes, accents that combine */
    for (size_t n = w - 4; n <= w; n++) {
        to = letters(to, n);
        to = stpcpy(to, "\xE2\x80\x94\xF0\x9F\x8E\x89!\n");
    }
    to = repeat(to, "e\xCC\x81\xE2\x80\x9Cq\xE2\x80\x9D \xC3\xA4", w / 2);
    to = stpcpy(to, "\nend\n");
}

static const int widths[] = {20, 79, 80, 100};

static void every_edge(void **state)
{
    static char text[1 << 15];
    static const struct {
        int rows, piece;
    } ways[] = {{50, 1}, {6, 1}, {6, 3}, {24, 17}};
    char what[64];

    (void)state;
    if (tmux_refused()) {
        print_message("skipped: %s\n", tmux_refused());
        skip();
    }
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            edges(text, (size_t)widths[i]);
            start(text, widths[i], ways[k].rows, ways[k].piece);
            wait_for("done");
            snprintf(what, sizeof what, "%d columns, %d rows, pieces of %d", widths[i], ways[k].rows, ways[k].piece);
            compare(text, false, what);
            tmux_end();
        }
}

/* The text stops amid a row, at the edge, or at the beginning of a line, where the screen was scrolled or not;
 * meanwhile the terminal changes its size. */
static void resized(void **state)
{
    static const int sizes[][2] = {{80, 10}, {80, 40}, {60, 24}, {100, 24}, {33, 7}};
    static const int places[] = {0, 40, 80, 200}; /* cells of the line that is being written */
    static char text[1 << 14];
    char what[96];

    (void)state;
    if (tmux_refused()) {
        print_message("skipped: %s\n", tmux_refused());
        skip();
    }
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
            int before = (s + k) % 2 ? 2 : 40;
            char *to = text;

            for (int i = 0; i < before; i++) to = stpcpy(letters(to, 11), "\n");
            to = stpcpy(letters(to, (size_t)places[k]), "\001");
            to = stpcpy(letters(to, 333), "\n");
            to = stpcpy(letters(to, 77), "\nend\n");
            start(text, 80, 24, 5);
            wait_for("waits");
            tmux_resize(sizes[s][0], sizes[s][1]);
            nap_ms(20); /* a terminal may be ahead of what it tells */
            say("goes");
            wait_for("done");
            snprintf(what, sizeof what, "%d x %d, %d cells, %d rows before", sizes[s][0], sizes[s][1], places[k],
                     before);
            compare(text, true, what);
            tmux_end();
        }
}

/* ---- where the cursor is ---- */

static struct cells after(const char *text, uint32_t width)
{
    struct cells c;

    cells_begin(&c, width);
    for (const char *p = text; *p; p++) cells_add(&c, (unsigned char)*p);
    return c;
}

static void cells_are_counted(void **state)
{
    struct cells c;

    (void)state;
    for (uint32_t n = 1; n < 200; n++) {
        c = after("", 20);
        for (uint32_t i = 0; i < n; i++) cells_add(&c, 'x');
        assert_int_equal(cells_at_edge(&c), n % 20 == 0);
        assert_false(cells_at_start(&c));
    }
    cells_add(&c, '\n');
    assert_true(cells_at_start(&c));
    assert_false(cells_at_edge(&c));
    c = after("1234567890123456789", 20); /* one cell is left: it wraps early */
    cells_add(&c, 0x65E5);
    assert_false(cells_at_edge(&c));
    assert_int_equal(c.least, 22);
    c = after("123456789012345678", 20); /* two are: the row is full */
    cells_add(&c, 0x65E5);
    assert_true(cells_at_edge(&c));
    c = after("1234567890123456\t", 20); /* the last column, and no further */
    assert_false(cells_at_edge(&c));
    c = after("1234567890123456\tx", 20);
    assert_true(cells_at_edge(&c));
    c = after("12345678901234567890\t", 20);
    assert_true(cells_at_edge(&c));
    c = after("123456789012345678", 20);
    cells_add(&c, 0x1F389); /* one cell or two */
    assert_true(cells_at_edge(&c));
    cells_add(&c, 'x');
    assert_true(cells_at_edge(&c));
    cells_add(&c, 'x');
    assert_false(cells_at_edge(&c));
    c = after("12345678901234567890", 20);
    cells_add(&c, 0x0301); /* joins what is there */
    assert_true(cells_at_edge(&c));
    c = after("123", 20);
    cells_resize(&c, 30);
    assert_true(cells_at_edge(&c)); /* nobody knows */
    cells_add(&c, '\n');
    assert_false(cells_at_edge(&c));
    assert_int_equal(c.width, 30);
    c = after("", 20);
    cells_resize(&c, 30);
    assert_true(cells_at_start(&c));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cells_are_counted), cmocka_unit_test(every_edge),
                                       cmocka_unit_test(resized)};

    if (argc == 4 && !strcmp(argv[1], "--write")) return write_text(argv + 2);
    return cmocka_run_group_tests(tests, setup, teardown);
}
