#include "coordinator/cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/text/suggest.h"
#include "coordinator/cli/values.h"

/* ---- walking argv ---------------------------------------------------------------------------------------------- */

/* One argument at a time: an operand, or a flag with its value. */
struct walk {
    char **argv;
    int argc, i;
    const char *cluster; /* what is left of "-qv" */
    bool only_operands;  /* behind "--" */
    enum option_command command;
};

struct word {
    const char *operand;            /* else NULL */
    const struct option_flag *flag; /* NULL with operand, or where the flag is unknown */
    const char *value;              /* NULL: none was given */
    char shown[72];                 /* the flag as it was written */
};

/* The value that stands in the next argument, where the flag takes one. */
static const char *walk_value(struct walk *w, const struct option_flag *f)
{
    return f && f->argument && w->i < w->argc ? w->argv[w->i++] : NULL;
}

static void walk_long(struct walk *w, const char *arg, struct word *out)
{
    const char *equals = strchr(arg, '=');
    size_t bytes = equals ? (size_t)(equals - arg) : strlen(arg);

    snprintf(out->shown, sizeof out->shown, "%.*s", (int)(bytes < 64 ? bytes : 64), arg);
    out->flag = option_by_name(w->command, arg + 2, bytes - 2);
    out->value = equals ? equals + 1 : walk_value(w, out->flag);
}

static void walk_letter(struct walk *w, struct word *out)
{
    char letter = *w->cluster++;
    const struct option_flag *f = option_by_letter(w->command, letter);

    snprintf(out->shown, sizeof out->shown, "-%c", letter);
    out->flag = f;
    if (f && f->argument && *w->cluster) {
        out->value = w->cluster;
        w->cluster = NULL;
    } else {
        out->value = walk_value(w, f);
    }
    if (w->cluster && !*w->cluster) w->cluster = NULL;
}

static bool walk_next(struct walk *w, struct word *out)
{
    const char *arg;

    *out = (struct word){0};
    if (w->cluster) {
        walk_letter(w, out);
        return true;
    }
    for (;;) {
        if (w->i >= w->argc) return false;
        arg = w->argv[w->i++];
        if (w->only_operands || strcmp(arg, "--")) break;
        w->only_operands = true;
    }
    if (w->only_operands || arg[0] != '-' || !arg[1]) {
        out->operand = arg;
    } else if (arg[1] == '-') {
        walk_long(w, arg, out);
    } else {
        w->cluster = arg + 1;
        walk_letter(w, out);
    }
    return true;
}

/* ---- which command --------------------------------------------------------------------------------------------- */

static const char *nearest_command(const char *word)
{
    const char *best = NULL;

    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++) best = suggest_nearer(word, best, option_commands[c].name);
    return best;
}

static int unknown_command(const char *word, struct error *e)
{
    const char *near = nearest_command(word);

    if (near)
        return error_set(e, EINVAL, "unknown command '%s'; did you mean '%s'? (a model folder of that name: ./%s)",
                         word, near, word);
    return error_set(e, EINVAL, "unknown command '%s'; `sluice --help` lists the commands", word);
}

/* A word that is no command is a model to chat with, unless it looks like a command that was misspelt. */
static bool is_model(const char *word, size_t operands)
{
    if (strchr(word, '/') || !strcmp(word, ".") || !strcmp(word, "..") || access(word, F_OK) == 0) return true;
    return operands == 1 && !nearest_command(word);
}

/* *consumed: the first operand is the command's name. */
static int find_command(int argc, char **argv, enum option_command *out, bool *consumed, struct error *e)
{
    struct walk w = {.argv = argv, .argc = argc, .i = 1};
    struct word word;
    const char *first = NULL;
    size_t operands = 0;

    while (walk_next(&w, &word))
        if (word.operand && !operands++) first = word.operand;
    *out = first ? option_command_by_name(first) : COMMAND_NONE;
    *consumed = *out != COMMAND_NONE;
    if (!first || *consumed) return 0;
    if (!is_model(first, operands)) return unknown_command(first, e);
    *out = COMMAND_CHAT;
    return 0;
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

static int bad_value(const struct word *w, struct error *e, const char *what)
{
    return error_set(e, EINVAL, "%s %s: %s", w->shown, w->value, what);
}

static int out_of_range(const struct word *w, struct error *e)
{
    const struct option_flag *f = w->flag;

    if (f->kind == KIND_SIZE) {
        char low[32], high[32];
        return error_set(e, EINVAL, "%s %s: must be from %s to %s", w->shown, w->value,
                         value_size_text((uint64_t)f->min, low, sizeof low),
                         value_size_text((uint64_t)f->max, high, sizeof high));
    }
    return error_set(e, EINVAL, "%s %s: must be from %.12g to %.12g", w->shown, w->value, f->min, f->max);
}

static int set_number(const struct word *w, void *field, struct error *e)
{
    int64_t whole;
    double real;
    int rc;

    if (w->flag->kind == KIND_INT) {
        rc = value_integer(w->value, &whole);
        real = rc ? 0 : (double)whole;
    } else {
        rc = value_real(w->value, &real);
    }
    if (rc == -EINVAL) return bad_value(w, e, w->flag->kind == KIND_INT ? "not a whole number" : "not a number");
    if (rc || real < w->flag->min || real > w->flag->max) return out_of_range(w, e);
    if (w->flag->kind == KIND_INT)
        *(int *)field = (int)real;
    else if (w->flag->kind == KIND_REAL)
        *(double *)field = real;
    else
        *(uint64_t *)field = (uint64_t)(real * 1048576.0) / PLAN_PAGE * PLAN_PAGE;
    return 0;
}

static int set_size(const struct word *w, uint64_t *field, struct error *e)
{
    uint64_t v = 0;
    int rc = value_size(w->value, &v);

    if (rc == -EINVAL) return bad_value(w, e, "not a size; write 1500M, 4G or 1.5GiB");
    if (rc || (double)v < w->flag->min || (double)v > w->flag->max) return out_of_range(w, e);
    *field = v;
    return 0;
}

static int set_seed(const struct word *w, struct options *o, struct error *e)
{
    int rc = value_unsigned(w->value, (uint64_t *)((char *)o + w->flag->field));

    if (rc == -ERANGE) return bad_value(w, e, "must be less than 2^64");
    if (rc) return bad_value(w, e, "not a whole number");
    *(bool *)((char *)o + w->flag->field2) = true;
    return 0;
}

static int set_choice(const struct word *w, int *field, struct error *e)
{
    size_t bytes = strlen(w->value);
    int v = (int)w->flag->min;

    for (const char *p = w->flag->argument;; v++) {
        size_t n = strcspn(p, "|");
        if (n == bytes && !memcmp(p, w->value, n)) {
            *field = v;
            return 0;
        }
        if (!p[n]) break;
        p += n + 1;
    }
    return error_set(e, EINVAL, "%s %s: must be one of %s", w->shown, w->value, w->flag->argument);
}

static int set_list(const struct word *w, struct options *o, struct error *e)
{
    char ***list = (char ***)((char *)o + w->flag->field), **grown;
    size_t *count = (size_t *)((char *)o + w->flag->field2);
    const char *equals = strchr(w->value, '=');

    if (w->flag->kind == KIND_PAIR && (!equals || equals == w->value))
        return bad_value(w, e, "must have the form NAME=VALUE");
    if (w->flag->kind == KIND_LIST && !*w->value)
        return error_set(e, EINVAL, "%s needs a text that is not empty", w->shown);
    grown = reallocarray(*list, *count + 1, sizeof **list);
    if (!grown) return error_set(e, ENOMEM, "no memory for the command line");
    grown[(*count)++] = (char *)w->value;
    *list = grown;
    return 0;
}

static int set_text(const struct word *w, const char **field, struct error *e)
{
    struct error why = {0};
    uint32_t *ids = NULL;
    size_t count;
    struct tm date;

    if (w->flag->kind == KIND_DATE && value_date(w->value, &date))
        return bad_value(w, e, "not a date of the form 2025-07-10T12:00:00");
    if (w->flag->kind == KIND_FILE && !*w->value) return error_set(e, EINVAL, "%s needs the name of a file", w->shown);
    if (w->flag->kind == KIND_NUMBERS) {
        int rc = value_numbers(w->value, strlen(w->value), &ids, &count, &why);
        free(ids);
        if (rc) return error_set(e, EINVAL, "%s: %s", w->shown, why.text);
        if (!count) return error_set(e, EINVAL, "%s needs at least one number", w->shown);
    }
    *field = w->value;
    return 0;
}

static size_t value_bytes(enum option_kind kind)
{
    return kind == KIND_INT || kind == KIND_CHOICE ? sizeof(int) : sizeof(uint64_t);
}

static int set_value(const struct word *w, struct options *o, struct error *e)
{
    const struct option_flag *f = w->flag;
    void *field = (char *)o + f->field;

    if (f->fallback && !strcmp(f->fallback, "auto") && !strcmp(w->value, "auto")) {
        memcpy(field, (const char *)&option_defaults + f->field, value_bytes(f->kind));
        return 0;
    }
    switch (f->kind) {
    case KIND_INT:
        if (!strncmp(f->argument, "off|", 4) && !strcmp(w->value, "off")) {
            *(int *)field = 0;
            return 0;
        }
        return set_number(w, field, e);
    case KIND_REAL:
    case KIND_MIB: return set_number(w, field, e);
    case KIND_SIZE: return set_size(w, field, e);
    case KIND_SEED: return set_seed(w, o, e);
    case KIND_CHOICE: return set_choice(w, field, e);
    case KIND_LIST:
    case KIND_PAIR: return set_list(w, o, e);
    case KIND_TEXT:
    case KIND_FILE:
    case KIND_NUMBERS:
    case KIND_DATE: return set_text(w, field, e);
    case KIND_FLAG:
    case KIND_COUNT: break;
    }
    return error_set(e, EINVAL, "%s takes no value", w->shown);
}

/* ---- flags and operands ---------------------------------------------------------------------------------------- */

static int unknown_flag(const struct options *o, const char *shown, struct error *e)
{
    const char *near = NULL, *name = shown + 2;
    const char *of = option_commands[o->command].name;

    for (size_t i = 0; shown[1] == '-' && i < option_flag_count; i++)
        if (option_applies(&option_flags[i], o->command)) near = suggest_nearer(name, near, option_flags[i].name);
    for (size_t i = 0; shown[1] == '-' && !near && i < option_flag_count; i++)
        near = suggest_nearer(name, near, option_flags[i].name);
    if (near) return error_set(e, EINVAL, "unknown flag %s; did you mean --%s?", shown, near);
    return error_set(e, EINVAL, "unknown flag %s; `sluice %s%s--help` lists the flags", shown, of, *of ? " " : "");
}

/* A flag that exists, but not for this command. */
static int foreign_flag(const struct options *o, const struct option_flag *f, const char *shown, struct error *e)
{
    char owners[160] = "";
    size_t n = 0;

    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++)
        if ((f->commands & COMMAND_BIT(c)) && n < sizeof owners)
            n += (size_t)snprintf(owners + n, sizeof owners - n, "%s%s", n ? ", " : "", option_commands[c].name);
    return error_set(e, EINVAL, "%s is no flag of `sluice %s`%s%s", shown, option_commands[o->command].name,
                     *owners ? "; it belongs to " : "; give it without a command", owners);
}

static int apply_flag(struct options *o, const struct word *w, struct error *e)
{
    const struct option_flag *f = w->flag;
    bool plain;

    if (!f) return unknown_flag(o, w->shown, e);
    if (!option_applies(f, o->command)) return foreign_flag(o, f, w->shown, e);
    plain = f->kind == KIND_FLAG || f->kind == KIND_COUNT;
    if (plain && w->value) return error_set(e, EINVAL, "%s takes no value", w->shown);
    if (!plain && !w->value) return error_set(e, EINVAL, "%s needs a value: %s %s", w->shown, w->shown, f->argument);
    if (f->kind == KIND_FLAG)
        *(bool *)((char *)o + f->field) = true;
    else if (f->kind == KIND_COUNT)
        ++*(int *)((char *)o + f->field);
    else
        return set_value(w, o, e);
    return 0;
}

/* An operand of fixed words must be one of them. */
static int check_operand(const struct option_operand *d, const char *text, struct error *e)
{
    const char *best = NULL, *p = d->name;
    char word[32];

    if (!strchr(d->name, '|')) {
        if (*text) return 0;
        return error_set(e, EINVAL, "%s is empty; give %s", d->name, d->what ? d->what : "a path");
    }
    while (*p) {
        size_t n = strcspn(p, "|");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        if (!strcmp(word, text)) return 0;
        if (suggest_nearer(text, NULL, word)) best = p;
        p += n + (p[n] == '|');
    }
    if (best)
        return error_set(e, EINVAL, "'%s': must be one of %s; did you mean '%.*s'?", text, d->name,
                         (int)strcspn(best, "|"), best);
    return error_set(e, EINVAL, "'%s': must be one of %s", text, d->name);
}

static int apply_operand(struct options *o, size_t index, const char *text, struct error *e)
{
    const struct option_command_info *c = &option_commands[o->command];
    const struct option_operand *d;
    int rc;

    if (o->command == COMMAND_HELP && !index) {
        o->help_topic = option_command_by_name(text);
        return o->help_topic == COMMAND_NONE ? unknown_command(text, e) : 0;
    }
    if (index >= OPTION_OPERANDS || !c->operand[index].name)
        return error_set(e, EINVAL, "'%s' is one argument too many for `sluice %s` (a text with spaces needs quotes)%s",
                         text, c->name, o->command == COMMAND_RUN ? "; a prompt goes behind -p" : "");
    d = &c->operand[index];
    rc = check_operand(d, text, e);
    if (!rc) *(const char **)((char *)o + d->field) = text;
    return rc;
}

/* ---- what belongs together ------------------------------------------------------------------------------------- */

static int check_operands(const struct options *o, size_t operands, struct error *e)
{
    const struct option_command_info *c = &option_commands[o->command];

    for (size_t i = operands; i < OPTION_OPERANDS && c->operand[i].name; i++)
        if (!c->operand[i].optional)
            return error_set(e, EINVAL, "`sluice %s` needs %s, %s", c->name, c->operand[i].name, c->operand[i].what);
    return 0;
}

static int check_together(const struct options *o, struct error *e)
{
    const struct option_command_info *c = &option_commands[o->command];

    if ((c->needs & COMMAND_NEEDS_TOKENS) && !o->tokens)
        return error_set(e, EINVAL, "`sluice %s` needs --tokens, as --tokens \"1 5 9\"", c->name);
    if ((c->needs & COMMAND_NEEDS_FILE) && !o->prompt_file)
        return error_set(e, EINVAL, "`sluice %s` needs --file FILE", c->name);
    if ((c->needs & COMMAND_NEEDS_OUT) && !o->out) return error_set(e, EINVAL, "`sluice %s` needs --out FILE", c->name);
    if ((c->needs & COMMAND_NEEDS_SVG) && !o->svg) return error_set(e, EINVAL, "`sluice %s` needs --svg FILE", c->name);
    if (o->prompt && o->prompt_file)
        return error_set(e, EINVAL, "--prompt and --file are both given; the text can come from one of them only");
    if (o->prompts && (o->prompt || o->prompt_file))
        return error_set(e, EINVAL, "--prompts is given beside --%s; the texts can come from one of them only",
                         o->prompt ? "prompt" : "file");
    if (o->parallel && o->command == COMMAND_RUN && !o->prompts)
        return error_set(e, EINVAL, "--parallel needs --prompts FILE");
    if (o->draft && !o->speculate)
        return error_set(e, EINVAL, "--draft guesses, and --speculate off forbids it: leave one out");
    if (!o->draft && o->draft_memory != UINT64_MAX) return error_set(e, EINVAL, "--draft-memory needs --draft MODEL");
    if (o->quiet && o->verbose) return error_set(e, EINVAL, "--quiet and --verbose are both given; leave one out");
    return 0;
}

int options_parse(struct options *o, int argc, char **argv, struct error *e)
{
    struct walk w = {.argv = argv, .argc = argc, .i = 1};
    size_t operands = 0;
    bool consumed;
    struct word word;
    int rc;

    *o = option_defaults;
    rc = find_command(argc, argv, &o->command, &consumed, e);
    if (rc) return rc;
    w.command = o->command;
    while (walk_next(&w, &word)) {
        if (!word.operand)
            rc = apply_flag(o, &word, e);
        else if (consumed)
            consumed = false;
        else
            rc = apply_operand(o, operands++, word.operand, e);
        if (rc) return rc;
    }
    if (o->help || o->version || o->man_page || o->command == COMMAND_HELP) return 0;
    if (o->command == COMMAND_NONE)
        return error_set(e, EINVAL, "give a model folder, a GGUF file or a command; `sluice --help` lists them");
    rc = check_operands(o, operands, e);
    return rc ? rc : check_together(o, e);
}

void options_free(struct options *o)
{
    free(o->stop);
    free(o->var);
    free(o->api_key);
    free(o->alias);
    o->stop = o->var = o->api_key = o->alias = NULL;
    o->stops = o->vars = o->api_keys = o->aliases = 0;
}
