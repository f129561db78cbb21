#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cli/chat.h"
#include "coordinator/cli/values.h"

struct setting {
    const char *name;
    double min, max;
};

static const struct setting settings[] = {{"temperature", 0, 100}, {"top-p", 0, 1},   {"min-p", 0, 1},          {"repeat-penalty", 0.01, 100},
                                          {"top-k", 0, 1e9},       {"seed", 0, 1e18}, {"max-tokens", 0, 1e9}};

static void set_value(struct chat *c, const char *name, double x)
{
    struct sampler_settings *s = &c->session.sampling;

    if (!strcmp(name, "temperature")) s->temperature = x;
    else if (!strcmp(name, "top-p")) s->top_p = x;
    else if (!strcmp(name, "min-p")) s->min_p = x;
    else if (!strcmp(name, "repeat-penalty")) s->repeat_penalty = x;
    else if (!strcmp(name, "top-k")) s->top_k = (int)x;
    else if (!strcmp(name, "seed")) s->seed = (uint64_t)x;
    else c->max_tokens = (uint64_t)x;
}

static int set_think(struct chat *c, const char *value, struct error *e)
{
    static const char *const words[] = {"show", "hide", "off"};

    for (int i = 0; i < 3; i++)
        if (!strcmp(value, words[i])) {
            c->think = (enum option_think)i;
            return 0;
        }
    return error_set(e, EINVAL, "/set think takes show, hide or off");
}

static int command_set(struct chat *c, const char *rest, struct error *e)
{
    char name[32], value[64];
    double x;

    if (sscanf(rest, "%31s %63s", name, value) != 2) {
        const struct sampler_settings *s = &c->session.sampling;

        fprintf(stderr, "temperature %g, top-p %g, min-p %g, top-k %d, repeat-penalty %g, seed %llu, max-tokens %llu\n", s->temperature, s->top_p,
                s->min_p, s->top_k, s->repeat_penalty, (unsigned long long)s->seed, (unsigned long long)c->max_tokens);
        return 0;
    }
    for (char *p = name; *p; p++)
        if (*p == '_') *p = '-';
    if (!strcmp(name, "think")) return set_think(c, value, e);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (strcmp(name, settings[i].name)) continue;
        if (value_real(value, &x) || x < settings[i].min || x > settings[i].max)
            return error_set(e, EINVAL, "%s takes a number from %g to %g", name, settings[i].min, settings[i].max);
        set_value(c, name, x);
        return 0;
    }
    return error_set(e, EINVAL, "there is no setting %s: temperature, top-p, min-p, top-k, repeat-penalty, seed, max-tokens, think", name);
}

static int command_stats(struct chat *c, const char *rest, struct error *e)
{
    struct session *s = &c->session;
    struct engine_stats t;

    (void)rest;
    (void)e;
    engine_stats(s->engine, &t);
    fprintf(stderr, "%llu answers, %llu tokens, context %zu of %u (%llu computed before the last answer were kept)\n",
            (unsigned long long)c->turns, (unsigned long long)c->tokens, s->tokens.count, session_context(s), (unsigned long long)c->reused);
    if (s->decode_sweeps)
        fprintf(stderr, "%.3f s per token (%.3f predicted), ", (double)s->decode_ns / 1e9 / (double)s->decode_sweeps,
                s->summary.predicted_seconds_per_token);
    fprintf(stderr, "%.3f GB read, peak memory %.0f MB, %s\n", (double)t.stage[STAGE_READER].bytes / 1e9, (double)t.peak_host_bytes / 1e6, t.compute);
    return 0;
}

static int command_clear(struct chat *c, const char *rest, struct error *e)
{
    (void)rest;
    (void)e;
    chat_clear(c);
    return 0;
}

static int command_retry(struct chat *c, const char *rest, struct error *e)
{
    (void)rest;
    return chat_retry(c, e);
}

static int command_undo(struct chat *c, const char *rest, struct error *e)
{
    (void)rest;
    (void)e;
    chat_undo(c);
    return 0;
}

static int command_quit(struct chat *c, const char *rest, struct error *e)
{
    (void)rest;
    (void)e;
    c->quit = true;
    return 0;
}

static int with_path(struct chat *c, const char *rest, int (*f)(struct chat *, const char *, struct error *), struct error *e)
{
    return *rest ? f(c, rest, e) : error_set(e, EINVAL, "give the name of a file");
}

static int command_save(struct chat *c, const char *rest, struct error *e)
{
    return with_path(c, rest, chat_save, e);
}

static int command_load(struct chat *c, const char *rest, struct error *e)
{
    return with_path(c, rest, chat_load, e);
}

static int command_help(struct chat *c, const char *rest, struct error *e);

static const struct {
    const char *name, *argument, *help;
    int (*run)(struct chat *c, const char *rest, struct error *e);
} commands[] = {
    {"help", "", "this list", command_help},
    {"clear", "", "forget the conversation, keep the system message", command_clear},
    {"retry", "", "answer the last question again", command_retry},
    {"undo", "", "forget the last question and its answer", command_undo},
    {"system", "TEXT", "set the system message; without a text, remove it", chat_system},
    {"set", "NAME VALUE", "temperature, top-p, min-p, top-k, repeat-penalty, seed, max-tokens, think", command_set},
    {"save", "FILE", "write the conversation as JSON", command_save},
    {"load", "FILE", "read one", command_load},
    {"stats", "", "tokens, speed, memory", command_stats},
    {"quit", "", "leave (Ctrl-D does too)", command_quit},
};

static int command_help(struct chat *c, const char *rest, struct error *e)
{
    (void)c;
    (void)rest;
    (void)e;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char left[40];

        snprintf(left, sizeof left, "/%s %s", commands[i].name, commands[i].argument);
        fprintf(stderr, "  %-18s %s\n", left, commands[i].help);
    }
    fputs("  A line that ends in \\ goes on in the next. Ctrl-C stops an answer.\n", stderr);
    return 0;
}

int chat_command(struct chat *c, const char *line, struct error *e)
{
    const char *rest = line + 1 + strcspn(line + 1, " \t\n");
    size_t n = (size_t)(rest - line - 1);

    rest += strspn(rest, " \t\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == n && !memcmp(commands[i].name, line + 1, n)) return commands[i].run(c, rest, e);
    return error_set(e, EINVAL, "there is no command /%.*s; /help lists them", (int)n, line + 1);
}
