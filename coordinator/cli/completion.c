/* Completion scripts: the option table in the languages of three shells. Names, words and argument names of the table
 * are plain (letters, digits, - _ | =); only help texts need quoting. */
#include "coordinator/cli/help.h"

#include <string.h>

static bool is_file(const struct option_flag *f)
{
    return f->kind == KIND_FILE;
}

/* A flag that stands without a command; shells offer it where a chat may begin. */
static bool is_alone(const struct option_flag *f)
{
    return f->commands == COMMAND_BIT(COMMAND_NONE);
}

/* The words of a CHOICE or of an operand, separated by blanks. */
static void words(FILE *out, const char *alternatives)
{
    for (; *alternatives; alternatives++) fputc(*alternatives == '|' ? ' ' : *alternatives, out);
}

static void command_names(FILE *out, const char *between)
{
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++)
        fprintf(out, "%s%s", c > COMMAND_NONE + 1 ? between : "", option_commands[c].name);
}

/* ---- bash ------------------------------------------------------------------------------------------------------ */

static void bash_values(FILE *out)
{
    for (size_t i = 0; i < option_flag_count; i++) {
        const struct option_flag *f = &option_flags[i];
        if (!f->argument) continue;
        fputs("    ", out);
        if (f->letter) fprintf(out, "-%c | ", f->letter);
        fprintf(out, "--%s) ", f->name);
        if (f->kind == KIND_CHOICE) {
            fputs("mapfile -t COMPREPLY < <(compgen -W '", out);
            words(out, f->argument);
            fputs("' -- \"$cur\"); return ;;\n", out);
        } else {
            fputs(is_file(f) ? "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n" : "return ;;\n", out);
        }
    }
}

static void bash_flags(FILE *out)
{
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++) {
        fprintf(out, "        %s) flags='", option_commands[c].name);
        for (size_t i = 0; i < option_flag_count; i++)
            if (option_applies(&option_flags[i], (enum option_command)c)) fprintf(out, " --%s", option_flags[i].name);
        fputs("' ;;\n", out);
    }
}

static void bash_operands(FILE *out)
{
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++) {
        const struct option_operand *d = &option_commands[c].operand[0];
        if (c != COMMAND_HELP && (!d->name || !strchr(d->name, '|'))) continue;
        fprintf(out, "    elif [[ $COMP_CWORD -eq 2 && $command == %s ]]; then\n", option_commands[c].name);
        fputs("        mapfile -t COMPREPLY < <(compgen -W '", out);
        if (c == COMMAND_HELP)
            command_names(out, " ");
        else
            words(out, d->name);
        fputs("' -- \"$cur\")\n", out);
    }
}

static void bash_print(FILE *out)
{
    fputs("# bash completion for sluice\n_sluice() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=chat flags\n"
          "    if [[ $cur == = ]]; then cur=; fi\n"
          "    if [[ $prev == = && $COMP_CWORD -ge 2 ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi\n"
          "    COMPREPLY=()\n    case ${COMP_WORDS[1]} in\n    ",
          out);
    command_names(out, " | ");
    fputs(") command=${COMP_WORDS[1]} ;;\n    esac\n    case $prev in\n", out);
    bash_values(out);
    fputs("    esac\n    if [[ $cur == -* ]]; then\n        case $command in\n", out);
    bash_flags(out);
    fputs("        esac\n        if [[ $COMP_CWORD -eq 1 ]]; then flags+=' --man-page'; fi\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$cur\")\n"
          "    elif [[ $COMP_CWORD -eq 1 ]]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W '",
          out);
    command_names(out, " ");
    fputs("' -- \"$cur\"; compgen -d -- \"$cur\")\n", out);
    bash_operands(out);
    fputs("    else\n        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n    fi\n}\n"
          "complete -o filenames -F _sluice sluice\n",
          out);
}

/* ---- zsh ------------------------------------------------------------------------------------------------------- */

/* For the inside of '...[text]...'. */
static void zsh_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", out);
            continue;
        }
        if (strchr("[]:\\", *text)) fputc('\\', out);
        fputc(*text, out);
    }
}

static void zsh_flag(FILE *out, const struct option_flag *f)
{
    bool again = f->kind == KIND_LIST || f->kind == KIND_PAIR || f->kind == KIND_COUNT;

    fputs(" \\\n                ", out);
    if (again && f->letter)
        fprintf(out, "\\*{-%c,--%s}'[", f->letter, f->name);
    else if (f->letter)
        fprintf(out, "'(-%c --%s)'{-%c,--%s}'[", f->letter, f->name, f->letter, f->name);
    else
        fprintf(out, "'%s--%s[", again ? "*" : "", f->name);
    zsh_text(out, f->help);
    fputc(']', out);
    if (f->kind == KIND_CHOICE) {
        fputs(":value:(", out);
        words(out, f->argument);
        fputc(')', out);
    } else if (f->argument) {
        fputc(':', out);
        zsh_text(out, f->argument);
        fputs(is_file(f) ? ":_files" : ":", out);
    }
    fputc('\'', out);
}

static void zsh_operand(FILE *out, const struct option_operand *d)
{
    fprintf(out, " \\\n                '%s", d->optional ? ":" : "");
    if (strchr(d->name, '|')) {
        fputs(":what:(", out);
        words(out, d->name);
        fputs(")'", out);
    } else {
        fprintf(out, ":%s:_files'", d->name);
    }
}

static void zsh_command(FILE *out, enum option_command c)
{
    const struct option_command_info *info = &option_commands[c];

    fprintf(out, "        %s)\n            _arguments -S", c == COMMAND_CHAT ? "*" : info->name);
    for (int i = 0; i < OPTION_OPERANDS && info->operand[i].name; i++) zsh_operand(out, &info->operand[i]);
    if (c == COMMAND_HELP) {
        fputs(" \\\n                '::command:(", out);
        command_names(out, " ");
        fputs(")'", out);
    }
    for (size_t i = 0; i < option_flag_count; i++)
        if (option_applies(&option_flags[i], c) || (c == COMMAND_CHAT && is_alone(&option_flags[i])))
            zsh_flag(out, &option_flags[i]);
    fputs("\n            ;;\n", out);
}

static void zsh_print(FILE *out)
{
    fputs("#compdef sluice\n_sluice() {\n    local -a commands\n    commands=(\n", out);
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++) {
        fprintf(out, "        '%s:", option_commands[c].name);
        zsh_text(out, option_commands[c].summary);
        fputs("'\n", out);
    }
    fputs("    )\n    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n"
          "        _describe command commands\n        _files -/\n        return\n    fi\n"
          "    local command=$words[2]\n"
          "    if (( $+commands[(r)$command:*] )); then\n        shift words\n        (( CURRENT-- ))\n"
          "    else\n        command=chat\n    fi\n    case $command in\n",
          out);
    for (int c = COMMAND_CHAT + 1; c < COMMANDS; c++) zsh_command(out, (enum option_command)c);
    zsh_command(out, COMMAND_CHAT); /* last, for it takes every other word */
    fputs("    esac\n}\n"
          "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _sluice \"$@\"; else compdef _sluice sluice; fi\n",
          out);
}

/* ---- fish ------------------------------------------------------------------------------------------------------ */

/* For the inside of '...'. */
static void fish_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') fputc('\\', out);
        fputc(*text, out);
    }
}

static void fish_flag(FILE *out, const struct option_flag *f)
{
    fputs("complete -c sluice -n '__sluice_is", out);
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++)
        if (f->commands & COMMAND_BIT(c)) fprintf(out, " %s", option_commands[c].name);
    if (is_alone(f)) fputs(" chat", out);
    fprintf(out, "' -l %s", f->name);
    if (f->letter) fprintf(out, " -s %c", f->letter);
    if (f->kind == KIND_CHOICE) {
        fputs(" -x -a '", out);
        words(out, f->argument);
        fputc('\'', out);
    } else if (f->argument) {
        fputs(is_file(f) ? " -r -F" : " -x", out);
    }
    fputs(" -d '", out);
    fish_text(out, f->help);
    fputs("'\n", out);
}

static void fish_print(FILE *out)
{
    fputs("# fish completion for sluice\n"
          "function __sluice_is\n    set -l line (commandline -opc)\n    set -l command chat\n"
          "    if test (count $line) -ge 2; and contains -- $line[2] ",
          out);
    command_names(out, " ");
    fputs("\n        set command $line[2]\n    end\n    contains -- $command $argv\nend\n", out);
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++) {
        const struct option_operand *d = &option_commands[c].operand[0];
        fprintf(out, "complete -c sluice -n __fish_use_subcommand -a %s -d '", option_commands[c].name);
        fish_text(out, option_commands[c].summary);
        fputs("'\n", out);
        if (c != COMMAND_HELP && (!d->name || !strchr(d->name, '|'))) continue;
        fprintf(out, "complete -c sluice -n '__sluice_is %s' -f -a '", option_commands[c].name);
        if (c == COMMAND_HELP)
            command_names(out, " ");
        else
            words(out, d->name);
        fputs("'\n", out);
    }
    for (size_t i = 0; i < option_flag_count; i++) fish_flag(out, &option_flags[i]);
}

void completion_print(FILE *out, const char *shell)
{
    if (!strcmp(shell, "zsh"))
        zsh_print(out);
    else if (!strcmp(shell, "fish"))
        fish_print(out);
    else
        bash_print(out);
}
