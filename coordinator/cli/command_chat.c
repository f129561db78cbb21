/* sluice chat, sluice MODEL: questions and answers in the terminal; without a terminal, one question a line. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/cli/chat.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/values.h"
#include "coordinator/run/interrupt.h"

static void greet(const struct chat *c)
{
    const struct plan_summary *s = &c->session.summary;
    char size[32], disk[32];

    if (!c->terminal || c->options->quiet) return;
    value_size_text(s->weight_bytes, size, sizeof size);
    value_size_text(s->sweep_bytes, disk, sizeof disk);
    fprintf(stderr, "%s, %s; %s read from disk for each token, about %.3g s (%s). /help lists the commands, Ctrl-D leaves.\n",
            c->options->model, size, disk, s->predicted_seconds_per_token, s->bottleneck);
    if (!c->template) fputs("The model has no chat template: your lines are continued as they are.\n", stderr);
}

/* What went wrong with one question; the chat goes on unless the pipeline is gone. */
static bool survivable(int rc)
{
    return rc == -EINVAL || rc == -EILSEQ || rc == -E2BIG || rc == -ENOENT || rc == -EACCES || rc == -EISDIR || rc == -ENOSPC;
}

static int turn(struct chat *c, const char *line, size_t bytes, struct error *e)
{
    int rc;

    if (!bytes) return 0;
    rc = line[0] == '/' ? chat_command(c, line, e) : chat_ask(c, line, bytes, e);
    if (rc && c->terminal && survivable(rc)) {
        fprintf(stderr, "%s\n", e->text);
        return 0;
    }
    return rc;
}

static int talk(struct chat *c, struct chat_input *in, struct error *e)
{
    while (!c->quit) {
        char *line;
        size_t bytes;
        int rc = chat_input_read(in, &line, &bytes, e);

        if (rc == -ENODATA) {
            if (c->terminal) fputc('\n', stderr);
            return 0;
        }
        if (rc == -EINTR) {
            if (interrupt_signal() != SIGINT || !c->terminal) return error_set(e, ECANCELED, "interrupted");
            interrupt_clear();
            fputs("\n(Ctrl-D or /quit leaves)\n", stderr);
            continue;
        }
        if (rc) return rc;
        rc = turn(c, line, bytes, e);
        free(line);
        if (rc) return rc;
    }
    return 0;
}

int command_chat(const struct options *o, struct error *e)
{
    struct chat c;
    struct chat_input *in = NULL;
    int rc;

    interrupt_setup();
    rc = chat_open(&c, o, e);
    if (!rc) rc = chat_input_open(&in, c.terminal, e);
    if (!rc) greet(&c);
    if (!rc) rc = talk(&c, in, e);
    chat_input_close(in);
    chat_close(&c);
    return rc;
}
