#include "coordinator/cli/help.h"

#include <string.h>
#include "coordinator/view/terminal.h"

#define COLUMNS_MIN 40
#define COLUMNS_MAX 100

struct page {
    FILE *out;
    int columns;
    bool color;
};

static void heading(const struct page *p, const char *text)
{
    fputc('\n', p->out);
    if (p->color) terminal_raw(p->out, TERMINAL_BOLD);
    fputs(text, p->out);
    if (p->color) terminal_raw(p->out, TERMINAL_PLAIN);
    fputc('\n', p->out);
}

/* Words of text between the columns indent and p->columns; the cursor stands at column at. Ends the line. */
static void wrap(const struct page *p, const char *text, int at, int indent)
{
    bool first = true;

    if (at > indent) {
        fputc('\n', p->out);
        at = 0;
    }
    at += fprintf(p->out, "%*s", indent - at, "");
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (!first && at + 1 + n > p->columns) {
            fprintf(p->out, "\n%*s", indent, "");
            at = indent;
            first = true;
        }
        at += fprintf(p->out, "%s%.*s", first ? "" : " ", n, text);
        first = false;
        text += n + (text[n] == ' ');
    }
    fputc('\n', p->out);
}

/* "  -p, --prompt TEXT" into out; returns its length. */
static int flag_text(const struct option_flag *f, char *out, size_t room)
{
    char letter[8] = "    ";

    if (f->letter) snprintf(letter, sizeof letter, "-%c, ", f->letter);
    return snprintf(out, room, "  %s--%s%s%s", letter, f->name, f->argument ? " " : "", f->argument ? f->argument : "");
}

static void print_flag(const struct page *p, const struct option_flag *f, int indent)
{
    char left[96], right[256];
    int n = flag_text(f, left, sizeof left);

    snprintf(right, sizeof right, "%s%s%s%s", f->help, f->fallback ? " [" : "", f->fallback ? f->fallback : "",
             f->fallback ? "]" : "");
    fputs(left, p->out);
    wrap(p, right, n + 2 > indent ? p->columns : n, indent);
}

/* Where the explanations begin: behind the longest flag, if that leaves them room. */
static int flags_indent(enum option_command c, int columns)
{
    int longest = 0;
    char left[96];

    for (size_t i = 0; i < option_flag_count; i++) {
        int n = option_applies(&option_flags[i], c) ? flag_text(&option_flags[i], left, sizeof left) : 0;
        if (n > longest) longest = n;
    }
    if (longest > 34) longest = 34;
    return longest + 2 < columns / 2 ? longest + 2 : 10;
}

static void print_flags(const struct page *p, enum option_command c)
{
    int indent = flags_indent(c, p->columns);

    for (int g = 0; g < GROUPS; g++) {
        bool any = false;
        for (size_t i = 0; i < option_flag_count; i++) {
            const struct option_flag *f = &option_flags[i];
            if ((int)f->group != g || !option_applies(f, c)) continue;
            if (!any) heading(p, option_group_titles[g]);
            any = true;
            print_flag(p, f, indent);
        }
    }
}

/* "run MODEL", "doctor [MODEL]" into out; returns its length. */
static int command_text(const struct option_command_info *c, char *out, size_t room)
{
    int n = snprintf(out, room, "%s", c->name);

    for (int i = 0; i < OPTION_OPERANDS && c->operand[i].name; i++)
        n += snprintf(out + n, room - (size_t)n, c->operand[i].optional ? " [%s]" : " %s", c->operand[i].name);
    if (!strcmp(c->name, "help")) n += snprintf(out + n, room - (size_t)n, " [COMMAND]");
    return n;
}

static void print_commands(const struct page *p)
{
    char text[96];

    heading(p, "Commands");
    for (int i = COMMAND_NONE + 1; i < COMMANDS; i++) {
        const struct option_command_info *c = &option_commands[i];
        int n = command_text(c, text, sizeof text);
        fprintf(p->out, "  %s", text);
        wrap(p, c->summary, n + 2 > 22 ? p->columns : n + 2, 24);
    }
}

void help_print(FILE *out, enum option_command c, int columns, bool color)
{
    const struct option_command_info *info = &option_commands[c];
    struct page p = {.out = out, .columns = columns > COLUMNS_MAX ? COLUMNS_MAX : columns, .color = color};
    char text[96];

    if (p.columns < COLUMNS_MIN) p.columns = COLUMNS_MIN;
    if (c == COMMAND_NONE) {
        wrap(&p, "usage: sluice MODEL [flags]", 0, 0);
        wrap(&p, "sluice COMMAND ... [flags]", 0, 7);
        snprintf(text, sizeof text, "sluice " SLUICE_VERSION " %s.", info->summary);
    } else {
        int n = snprintf(text, sizeof text, "sluice ");
        n += command_text(info, text + n, sizeof text - (size_t)n);
        snprintf(text + n, sizeof text - (size_t)n, " [flags]");
        fputs("usage: ", out);
        wrap(&p, text, 7, 7);
        snprintf(text, sizeof text, "sluice %s: %s.", info->name, info->summary);
    }
    fputc('\n', out);
    wrap(&p, text, 0, 0);
    wrap(&p, info->detail, 0, 0);
    if (c == COMMAND_NONE) print_commands(&p);
    print_flags(&p, c);
    fputc('\n', out);
    wrap(&p, "Sizes: 1500M and 4G are powers of 1000, 1.5GiB and 512Mi of 1024.", 0, 0);
    wrap(&p, "Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.", 0, 0);
    if (c == COMMAND_NONE) wrap(&p, "`sluice COMMAND --help` shows the flags of one command only.", 0, 0);
}
