/* A chat: messages, and the session that answers them.
 *
 *   command_chat.c   reads lines, one question or /command after the other
 *   chat.c           messages -> template -> tokens; of these only the new ones are computed
 *   chat_commands.c  /help and its kin
 *   chat_input.c     line editing and history (libedit), or plain lines */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "coordinator/cli/options.h"
#include "coordinator/run/generate.h"
#include "coordinator/text/template.h"
#include "coordinator/view/think.h"
#include "coordinator/view/view.h"

struct chat {
    const struct options *options;
    struct session session;
    struct view *view;
    struct template *template; /* NULL: the model has none, lines are continued as they are */
    json_t *messages;
    uint64_t max_tokens;       /* of an answer, 0: until it ends */
    enum option_think think;
    bool terminal;
    char *answer;              /* of the turn under way */
    size_t answer_bytes, answer_room;
    struct think filter;
    bool dimmed;
    uint64_t turns, tokens, reused;
    bool quit;
};

int chat_open(struct chat *c, const struct options *o, struct error *e);
void chat_close(struct chat *c);

/* One question and its answer, both kept. After Ctrl-C what was said so far is kept, and 0 is returned. */
int chat_ask(struct chat *c, const char *text, size_t bytes, struct error *e);
/* Answers the last question again, with other noise. */
int chat_retry(struct chat *c, struct error *e);
void chat_undo(struct chat *c);  /* forgets the last question and its answer */
void chat_clear(struct chat *c); /* forgets all but the system message */
int chat_system(struct chat *c, const char *text, struct error *e); /* "" removes it */
int chat_save(struct chat *c, const char *path, struct error *e);
int chat_load(struct chat *c, const char *path, struct error *e);

/* A line that begins with /. Errors are for the user and do not end the chat. */
int chat_command(struct chat *c, const char *line, struct error *e);

/* Lines. *line is malloc'ed; -ENODATA at the end, -EINTR after Ctrl-C. A line that ends in a backslash goes on in the next. */
struct chat_input;
int chat_input_open(struct chat_input **out, bool terminal, struct error *e);
void chat_input_close(struct chat_input *in);
int chat_input_read(struct chat_input *in, char **line, size_t *bytes, struct error *e);
