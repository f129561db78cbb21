/* sluice(1), in the man macros: see man(7) and groff_man(7). */
#include "coordinator/cli/help.h"

#include <string.h>

/* Text with what roff would take for its own escaped. */
static void roff(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'') fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else if (*text == '`')
            fputs("\\(ga", out);
        else if (*text == '~')
            fputs("\\(ti", out);
        else
            fputc(*text, out);
    }
}

static void paragraph(FILE *out, const char *text)
{
    roff(out, text);
    fputc('\n', out);
}

static void section(FILE *out, const char *title)
{
    fprintf(out, ".SH %s\n", title);
}

static void print_operands(FILE *out, const struct option_command_info *c)
{
    for (int i = 0; i < OPTION_OPERANDS && c->operand[i].name; i++) {
        fprintf(out, c->operand[i].optional ? " [\\fI" : " \\fI");
        roff(out, c->operand[i].name);
        fprintf(out, c->operand[i].optional ? "\\fR]" : "\\fR");
    }
    if (!strcmp(c->name, "help")) fputs(" [\\fICOMMAND\\fR]", out);
}

static void print_synopsis(FILE *out)
{
    section(out, "SYNOPSIS");
    fputs("\\fBsluice\\fR \\fIMODEL\\fR [\\fIflags\\fR]\n", out);
    for (int i = COMMAND_NONE + 1; i < COMMANDS; i++) {
        fprintf(out, ".br\n\\fBsluice %s\\fR", option_commands[i].name);
        print_operands(out, &option_commands[i]);
        fputs(" [\\fIflags\\fR]\n", out);
    }
}

static void print_commands(FILE *out)
{
    section(out, "COMMANDS");
    for (int i = COMMAND_NONE + 1; i < COMMANDS; i++) {
        const struct option_command_info *c = &option_commands[i];
        fprintf(out, ".TP\n\\fB%s\\fR", c->name);
        print_operands(out, c);
        fputc('\n', out);
        fprintf(out, "%s.\n", c->summary);
        paragraph(out, c->detail);
    }
}

/* Whose flag it is, where it is not everybody's. */
static void print_owners(FILE *out, const struct option_flag *f)
{
    const char *between = "(";

    if (option_applies(f, COMMAND_HELP) || f->commands == COMMAND_BIT(COMMAND_NONE)) return;
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++) {
        if (!(f->commands & COMMAND_BIT(c))) continue;
        fprintf(out, "%s%s", between, option_commands[c].name);
        between = ", ";
    }
    fputs(")\n", out);
}

static void print_flag(FILE *out, const struct option_flag *f)
{
    fputs(".TP\n", out);
    if (f->letter) fprintf(out, "\\fB\\-%c\\fR, ", f->letter);
    fputs("\\fB\\-\\-", out);
    roff(out, f->name);
    fputs("\\fR", out);
    if (f->argument) {
        fputs(" \\fI", out);
        roff(out, f->argument);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    roff(out, f->help);
    if (f->fallback) {
        fputs(" [", out);
        roff(out, f->fallback);
        fputc(']', out);
    }
    fputc('\n', out);
    print_owners(out, f);
}

static void print_flags(FILE *out)
{
    section(out, "OPTIONS");
    fputs("In brackets the default; in parentheses the commands that take the flag, where not all of them do.\n"
          "\\fB\\-\\-flag=value\\fR is the same as \\fB\\-\\-flag value\\fR, and \\fB\\-\\-\\fR ends the flags.\n",
          out);
    for (int g = 0; g < GROUPS; g++) {
        fprintf(out, ".SS %s\n", option_group_titles[g]);
        for (size_t i = 0; i < option_flag_count; i++)
            if ((int)option_flags[i].group == g) print_flag(out, &option_flags[i]);
    }
}

static void print_examples(FILE *out)
{
    static const char *const example[][2] = {
        {"Chat:", "sluice ~/models/Llama-3.1-70B-Instruct"},
        {"One answer, always the same:", "sluice run MODEL --chat -p 'Why is the sky blue?' --temperature 0"},
        {"What would it take, with 8 GB of memory?", "sluice plan MODEL --host-memory 8G"},
        {"What holds it up?", "sluice profile pipeline MODEL"},
        {"A picture of a run:", "sluice run MODEL -p Hello -n 3 --trace t.json && sluice trace t.json --svg t.svg"},
    };

    section(out, "EXAMPLES");
    for (size_t i = 0; i < sizeof example / sizeof *example; i++) {
        fprintf(out, ".TP\n%s\n\\fB", example[i][0]);
        roff(out, example[i][1]);
        fputs("\\fR\n", out);
    }
}

void manual_print(FILE *out)
{
    fputs(".TH SLUICE 1 \"\" \"sluice " SLUICE_VERSION "\" \"User Commands\"\n.nh\n.ad l\n", out);
    section(out, "NAME");
    fprintf(out, "sluice \\- %s\n", option_commands[COMMAND_NONE].summary);
    print_synopsis(out);
    section(out, "DESCRIPTION");
    paragraph(out, option_commands[COMMAND_NONE].detail);
    fputs(".PP\nThe program starts three more, a reader, a transfer and a compute process, and ends them again.\n"
          "They pass the weights on through shared memory; what is read, copied and computed at one time belongs to\n"
          "different places of the model, so that a token takes as long as its slowest part and not as long as their "
          "sum.\n",
          out);
    print_commands(out);
    print_flags(out);
    section(out, "SIZES");
    fputs("A number, perhaps with a fraction, and a unit: B, k, M, G, T are powers of 1000, Ki, Mi, Gi, Ti of 1024;\n"
          "a B may follow. 1500M, 4G, 1.5GiB.\n",
          out);
    section(out, "EXIT STATUS");
    fputs(".TP\n0\ndone\n.TP\n1\nfailed; the last line on standard error says why\n"
          ".TP\n2\nwrong usage\n.TP\n130\ninterrupted\n",
          out);
    print_examples(out);
}
