#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/chat/chat.h"
#include "coordinator/text/suggest.h"
#include "coordinator/cli/values.h"

/* ---- /set ---- */

struct setting {
    const char *name;
    double min, max;
    bool whole;
};

static const struct setting settings[] = {{"temperature", 0, TEMPERATURE_MOST, false},
                                          {"top-p", 0, 1, false},
                                          {"min-p", 0, 1, false},
                                          {"repeat-penalty", REPEAT_PENALTY_LEAST, REPEAT_PENALTY_MOST, false},
                                          {"top-k", 0, TOP_K_MOST, true},
                                          {"seed", 0, 0x1p64, true},
                                          {"max-tokens", 0, 1e9, true},
                                          {"think", 0, 0, false}};
#define SETTINGS (sizeof settings / sizeof *settings)

static const char *const think_words[] = {"show", "hide", "off"}; /* enum option_think */

const char *chat_setting_name(size_t i)
{
    return i < SETTINGS ? settings[i].name : NULL;
}

static void set_value(struct chat *c, const char *name, double x, uint64_t whole)
{
    struct sampler_settings *s = &c->sampling;

    if (!strcmp(name, "temperature"))
        s->temperature = x;
    else if (!strcmp(name, "top-p"))
        s->top_p = x;
    else if (!strcmp(name, "min-p"))
        s->min_p = x;
    else if (!strcmp(name, "repeat-penalty"))
        s->repeat_penalty = x;
    else if (!strcmp(name, "top-k"))
        s->top_k = (int)whole;
    else if (!strcmp(name, "seed"))
        s->seed = whole;
    else
        c->max_tokens = whole;
}

static void print_value(const struct chat *c, const char *name)
{
    const struct sampler_settings *s = &c->sampling;

    fprintf(stderr, "  %-14s ", name);
    if (!strcmp(name, "temperature"))
        fprintf(stderr, "%g%s\n", s->temperature, s->temperature <= 0 ? "   always the likeliest token" : "");
    else if (!strcmp(name, "top-p"))
        fprintf(stderr, "%g\n", s->top_p);
    else if (!strcmp(name, "min-p"))
        fprintf(stderr, "%g\n", s->min_p);
    else if (!strcmp(name, "repeat-penalty"))
        fprintf(stderr, "%g\n", s->repeat_penalty);
    else if (!strcmp(name, "top-k"))
        fprintf(stderr, "%d%s\n", s->top_k, s->top_k ? "" : "   no limit");
    else if (!strcmp(name, "seed"))
        fprintf(stderr, "%llu\n", (unsigned long long)s->seed);
    else if (!strcmp(name, "think"))
        fprintf(stderr, "%s\n", think_words[c->think]);
    else
        fprintf(stderr, "%llu%s\n", (unsigned long long)c->max_tokens, c->max_tokens ? "" : "   until the answer ends");
}

static int set_think(struct chat *c, const char *value, struct error *e)
{
    for (int i = 0; i < 3; i++)
        if (!strcmp(value, think_words[i])) {
            c->think = (enum option_think)i;
            return 0;
        }
    return error_set(e, EINVAL, "think takes show, hide or off, not %s", value);
}

static int set_number(struct chat *c, const struct setting *s, const char *value, struct error *e)
{
    uint64_t whole = 0;
    double x = 0;
    int rc = s->whole ? value_unsigned(value, &whole) : value_real(value, &x);

    if (s->whole) x = (double)whole;
    if (rc || x < s->min || x > s->max)
        return error_set(e, EINVAL, "%s takes a %s from %g to %g, not %s", s->name,
                         s->whole ? "whole number" : "number", s->min, s->max, value);
    set_value(c, s->name, x, whole);
    return 0;
}

static int no_setting(const char *name, struct error *e)
{
    const char *near = NULL;

    for (size_t i = 0; i < SETTINGS; i++) near = suggest_nearer(name, near, settings[i].name);
    if (near) return error_set(e, EINVAL, "there is no setting %s; did you mean %s?", name, near);
    return error_set(e, EINVAL, "there is no setting %s; /set alone lists them", name);
}

static int command_set(struct chat *c, const char *rest, struct error *e)
{
    char name[32] = "", value[64] = "", more[2] = "";
    int n = sscanf(rest, "%31s %63s %1s", name, value, more);

    for (char *p = name; *p; p++)
        if (*p == '_') *p = '-';
    if (n > 2) return error_set(e, EINVAL, "/set takes a name and one value, as in /set temperature 0.5");
    for (size_t i = 0; i < SETTINGS; i++) {
        if (n > 0 && strcmp(name, settings[i].name)) continue;
        if (n < 2)
            print_value(c, settings[i].name);
        else
            return strcmp(name, "think") ? set_number(c, &settings[i], value, e) : set_think(c, value, e);
        if (n == 1) return 0;
    }
    return n > 0 ? no_setting(name, e) : 0;
}

/* ---- the others ---- */

static int command_stats(struct chat *c, const char *rest, struct error *e)
{
    const struct scheduler_times *s = instance_times(c->instance);
    struct engine_stats t;

    (void)rest;
    (void)e;
    instance_stats(c->instance, &t);
    fprintf(stderr, "  %llu answers, %llu tokens; %zu of %u tokens of context used\n", (unsigned long long)c->turns,
            (unsigned long long)c->tokens, (size_t)sequence_count(c->sequence), sequence_limit(c->sequence));
    if (c->turns)
        fprintf(stderr,
                "  last prompt: %llu tokens, %llu of them known from before; %llu positions computed with the answer\n",
                (unsigned long long)c->prompt_tokens, (unsigned long long)c->kept, (unsigned long long)c->computed);
    if (s->decode_tokens)
        fprintf(stderr, "  %.3g s per token (%.3g predicted%s), %.3g tokens a sweep\n",
                (double)s->decode_ns / 1e9 / (double)s->decode_tokens,
                instance_summary(c->instance)->predicted_seconds_per_token, s->guessed_sweeps ? " without guesses" : "",
                (double)s->decode_tokens / (double)s->decode_sweeps);
    fprintf(stderr, "  %.3f GB read, peak memory %.0f MB, %s\n", (double)t.stage[STAGE_READER].bytes / 1e9,
            (double)t.peak_host_bytes / 1e6, t.compute);
    return 0;
}

static int command_clear(struct chat *c, const char *rest, struct error *e)
{
    (void)rest;
    (void)e;
    chat_clear(c);
    chat_remark(c, json_array_size(c->messages) ? "(all forgotten but the system message)" : "(all forgotten)");
    return 0;
}

static int command_retry(struct chat *c, const char *rest, struct error *e)
{
    (void)rest;
    return chat_retry(c, e);
}

/* The question that is the last one now, so that people see where they are. */
static void tell_last_question(const struct chat *c)
{
    for (size_t i = json_array_size(c->messages); i-- > 0;) {
        json_t *m = json_array_get(c->messages, i);
        const char *text = json_string_value(json_object_get(m, "content"));
        int n = (int)strcspn(text, "\n");

        if (strcmp(json_string_value(json_object_get(m, "role")), "user") != 0) continue;
        if (n > 60) n = 60;
        while (n && ((unsigned char)text[n] & 0xC0) == 0x80) n--; /* no half characters */
        chat_remark(c, "(the last question is: %.*s%s)", n, text, text[n] ? "..." : "");
        return;
    }
    chat_remark(c, "(there is no question)");
}

static int command_undo(struct chat *c, const char *rest, struct error *e)
{
    (void)rest;
    if (!chat_undo(c)) return error_set(e, EINVAL, "there is nothing to undo");
    tell_last_question(c);
    return 0;
}

static int command_system(struct chat *c, const char *rest, struct error *e)
{
    bool had = json_array_size(c->messages) &&
               !strcmp(json_string_value(json_object_get(json_array_get(c->messages, 0), "role")), "system");
    int rc = chat_system(c, rest, e);

    if (!rc)
        chat_remark(c, *rest ? "(the system message is set)"
                       : had ? "(the system message is removed)"
                             : "(there is no system message)");
    return rc;
}

static int command_quit(struct chat *c, const char *rest, struct error *e)
{
    (void)rest;
    (void)e;
    c->quit = true;
    return 0;
}

static int command_save(struct chat *c, const char *rest, struct error *e)
{
    int rc =
        *rest ? chat_save(c, rest, e) : error_set(e, EINVAL, "/save wants the name of a file, as in /save talk.json");

    if (!rc) chat_remark(c, "(%zu messages written to %s)", json_array_size(c->messages), rest);
    return rc;
}

static int command_load(struct chat *c, const char *rest, struct error *e)
{
    int rc =
        *rest ? chat_load(c, rest, e) : error_set(e, EINVAL, "/load wants the name of a file that /save has written");

    if (rc) return rc;
    chat_remark(c, "(%zu messages)", json_array_size(c->messages));
    tell_last_question(c);
    return 0;
}

static int command_help(struct chat *c, const char *rest, struct error *e);

static const struct {
    const char *name, *argument, *help;
    bool alone; /* takes nothing */
    int (*run)(struct chat *c, const char *rest, struct error *e);
} commands[] = {
    {"help", "", "this list", true, command_help},
    {"clear", "", "forget all but the system message", true, command_clear},
    {"retry", "", "answer the last question again", true, command_retry},
    {"undo", "", "forget the last question and its answer", true, command_undo},
    {"system", "TEXT", "set the system message; no TEXT: remove it", false, command_system},
    {"set", "NAME VALUE", "change how it answers; alone: list what is set", false, command_set},
    {"save", "FILE", "write the conversation, as JSON", false, command_save},
    {"load", "FILE", "go on with one that was saved", false, command_load},
    {"stats", "", "tokens, speed, memory", true, command_stats},
    {"quit", "", "leave; Ctrl-D does too", true, command_quit},
};
#define COMMANDS_OF_CHAT (sizeof commands / sizeof *commands)

const char *chat_command_name(size_t i)
{
    return i < COMMANDS_OF_CHAT ? commands[i].name : NULL;
}

static int command_help(struct chat *c, const char *rest, struct error *e)
{
    (void)c;
    (void)rest;
    (void)e;
    for (size_t i = 0; i < COMMANDS_OF_CHAT; i++) {
        char left[40];

        snprintf(left, sizeof left, "/%s %s", commands[i].name, commands[i].argument);
        fprintf(stderr, "  %-16s %s\n", left, commands[i].help);
    }
    fputs("\n  Several lines: end a line with \\, press Alt-Enter, or paste them.\n"
          "  Ctrl-C stops an answer. Tab completes commands, Ctrl-R searches in\n"
          "  what was asked before. Two slashes begin a question with one.\n",
          stderr);
    return 0;
}

int chat_command(struct chat *c, const char *line, struct error *e)
{
    const char *rest = line + 1 + strcspn(line + 1, " \t\n"), *near = NULL;
    char name[32];

    snprintf(name, sizeof name, "%.*s", (int)(rest - line - 1), line + 1);
    rest += strspn(rest, " \t\n");
    for (size_t i = 0; i < COMMANDS_OF_CHAT; i++) {
        if (strcmp(commands[i].name, name) != 0) {
            near = suggest_nearer(name, near, commands[i].name);
            continue;
        }
        if (commands[i].alone && *rest) return error_set(e, EINVAL, "/%s takes nothing behind it", name);
        return commands[i].run(c, rest, e);
    }
    if (near) return error_set(e, EINVAL, "there is no command /%s; did you mean /%s?", name, near);
    return error_set(e, EINVAL, "there is no command /%s; /help lists them, and // begins a question with a slash",
                     name);
}
