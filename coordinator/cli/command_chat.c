/* sluice chat, sluice MODEL: questions and answers in the terminal; without a terminal, one question a line. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/chat/chat.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/prompt.h"
#include "coordinator/cli/values.h"
#include "coordinator/engine/interrupt.h"

/* Seconds as people say them. */
static const char *seconds_text(double s, char *out, size_t room)
{
    if (s < 0.002)
        snprintf(out, room, "hundreds of tokens per second");
    else if (s < 0.095)
        snprintf(out, room, "about %.0f tokens per second", 1 / s);
    else if (s < 90)
        snprintf(out, room, "about %.2g s per token", s);
    else
        snprintf(out, room, "about %.2g minutes per token", s / 60);
    return out;
}

static void greet(const struct chat *c)
{
    const struct plan_summary *s = instance_summary(c->instance);
    char size[32], disk[32], speed[64];

    if (!c->interactive || c->options->quiet) return;
    value_size_text(s->weight_bytes, size, sizeof size);
    value_size_text(s->sweep_bytes, disk, sizeof disk);
    fprintf(stderr, "%s, %s", source_name(c->options->source), size);
    if (s->sweep_bytes) fprintf(stderr, ", %s of it from disk for each token", disk);
    fprintf(stderr, ": %s.\n", seconds_text(s->predicted_seconds_per_token, speed, sizeof speed));
    if (!c->template)
        fputs("It has no chat template: your text is continued. Enter alone goes on, Ctrl-C stops.\n", stderr);
    fputs("/help lists commands, Ctrl-C stops an answer, Ctrl-D leaves.\n\n", stderr);
}

static int turn(struct chat *c, const char *line, size_t bytes, struct error *e)
{
    int rc;

    if (c->commands && line[0] == '/' && line[1] != '/')
        rc = chat_command(c, line, e);
    else if (!bytes)
        rc = c->template ? 0 : chat_continue(c, e);
    else
        rc = c->commands && line[0] == '/' ? chat_ask(c, line + 1, bytes - 1, e) : chat_ask(c, line, bytes, e);
    if (!c->interactive || rc == -ECANCELED) return rc;
    if (rc) {
        view_interrupt(c->view);
        fprintf(stderr, "%s\n", e->text); /* what was said can still be saved, or asked again */
    }
    if (bytes && !c->options->quiet) fputc('\n', stderr);
    return 0;
}

/* Ctrl-C at the prompt: drops the line; where there is none, the second one leaves. */
static int stopped(const struct chat *c, int rc, bool *warned, struct error *e)
{
    if (interrupt_signal() != SIGINT || !c->interactive || (rc == -EINTR && *warned))
        return error_set(e, ECANCELED, "interrupted");
    interrupt_clear();
    *warned = rc == -EINTR;
    if (*warned) chat_remark(c, "(Ctrl-C again leaves; so do Ctrl-D and /quit)");
    return 0;
}

static int talk(struct chat *c, struct chat_input *in, struct error *e)
{
    bool warned = false;
    int rc = 0;

    while (!c->quit && !rc) {
        char *line;
        size_t bytes;

        instance_rest(c->instance);
        rc = chat_input_read(in, &line, &bytes, e);
        if (rc == -EINTR || rc == -EAGAIN) {
            rc = stopped(c, rc, &warned, e);
            continue;
        }
        if (rc == -ENODATA) {
            if (c->interactive) fputc('\n', stderr);
            return 0;
        }
        if (rc == -E2BIG && c->interactive) {
            fprintf(stderr, "%s\n", e->text);
            rc = 0;
            continue;
        }
        if (rc) return rc;
        warned = false;
        rc = turn(c, line, bytes, e);
        free(line);
    }
    return rc;
}

int command_chat(const struct options *o, struct error *e)
{
    struct chat c;
    struct chat_input *in = NULL;
    struct input_limit limit;
    struct error second;
    int rc, rc2;

    interrupt_setup();
    rc = chat_open(&c, o, e);
    if (!rc) limit = prompt_limit(c.instance, instance_context(c.instance));
    if (!rc) rc = chat_input_open(&in, c.interactive, &limit, e);
    if (!rc) greet(&c);
    if (!rc) rc = talk(&c, in, e);
    chat_input_close(in);
    rc2 = chat_close(&c, &second);
    if (!rc && rc2) {
        *e = second;
        rc = rc2;
    }
    return rc;
}
