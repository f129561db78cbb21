/* A chat: messages, and the sequence that answers them.
 *
 *   command_chat.c   reads lines, one question or /command after the other
 *   chat.c           messages -> template -> tokens; of these only the new ones are computed
 *   chat_messages.c  what was said: undo, system, save, load
 *   chat_show.c      the answer as it streams: thinking told apart
 *   chat_commands.c  /help and its kin
 *   chat_input.c     messages of one or several lines, from an editor or as plain lines
 *   chat_editor.c    line editing, history, paste (libedit) */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "coordinator/cli/input.h"
#include "coordinator/cli/options.h"
#include "coordinator/batch/generate.h"
#include "coordinator/source/template.h"
#include "coordinator/chat/think.h"
#include "coordinator/text/buffer.h"
#include "coordinator/view/view.h"

struct chat {
    const struct options *options;
    struct instance *instance;
    struct sequence *sequence;        /* the conversation as tokens */
    struct sampler_settings sampling; /* /set changes them */
    struct view *view;
    struct template *template; /* NULL: the model has none, lines are continued as they are */
    json_t *messages;
    uint64_t max_tokens; /* of an answer, 0: until it ends */
    enum option_think think;
    bool interactive; /* questions come from a terminal */
    bool commands;    /* lines may be commands */
    bool styled;      /* which shows dimmed text */

    /* the turn under way */
    struct think filter;
    uint32_t spoken[THINK_TOKENS_MAX]; /* tokens that mark thinking */
    size_t spoken_count;
    struct buffer answer;        /* as the model said it */
    struct buffer thought, told; /* of it, told apart */
    bool thinking;               /* was shown last */
    char last;                   /* byte that was shown */

    /* what the sequence's first tokens are, as text: the prompt and the answer, the token that ended it not counted */
    struct buffer said;
    size_t said_tokens;

    uint64_t turns, tokens;
    uint64_t prompt_tokens, kept, computed; /* of the last turn: of its prompt, and of these; positions of its sweeps */
    bool quit;
};

int chat_open(struct chat *c, const struct options *o, struct error *e);
int chat_close(struct chat *c, struct error *e); /* -errno where the trace could not be written */

/* One question and its answer, both kept. After Ctrl-C what was said so far is kept, and 0 is returned; where nothing was
 * said yet, it is as if the question had not been asked. */
int chat_ask(struct chat *c, const char *text, size_t bytes, struct error *e);
/* Without a template: goes on with the text. */
int chat_continue(struct chat *c, struct error *e);
/* Answers the last question again, with other noise. */
int chat_retry(struct chat *c, struct error *e);

/* ---- chat_messages.c ---- */

bool chat_last_is(const struct chat *c, const char *role);
int chat_add(struct chat *c, const char *role, const char *text, size_t bytes, struct error *e);
void chat_drop_last(struct chat *c);
size_t chat_undo(struct chat *c);  /* forgets the last question and its answer; how many messages that were */
size_t chat_clear(struct chat *c); /* forgets all but the system message; how many */
int chat_system(struct chat *c, const char *text, struct error *e); /* "" removes it */
int chat_save(struct chat *c, const char *path, struct error *e);
int chat_load(struct chat *c, const char *path, struct error *e);

/* ---- chat_show.c ---- */

/* Of struct think: shows a piece of thinking or of the answer. */
int chat_show(void *chat, bool thinking, const char *text, size_t bytes, struct error *e);
int chat_show_end(struct chat *c, struct error *e); /* the answer is over */
/* A remark beside the conversation, on standard error; only for people. */
void chat_remark(const struct chat *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- chat_commands.c ---- */

/* A line that begins with /. Errors are for the user and do not end the chat. */
int chat_command(struct chat *c, const char *line, struct error *e);
const char *chat_command_name(size_t i); /* without the slash; NULL behind the last */
const char *chat_setting_name(size_t i); /* of /set */

/* ---- chat_input.c ---- */

/* Messages. *text is malloc'ed. A line that ends in a backslash goes on in the next; in a terminal what is pasted is one
 * message. -ENODATA at the end, -EINTR after Ctrl-C with nothing typed, -EAGAIN after Ctrl-C that dropped a line, -E2BIG
 * where a message is longer than the limit. */
struct chat_input;
int chat_input_open(struct chat_input **out, bool terminal, const struct input_limit *limit, struct error *e);
void chat_input_close(struct chat_input *in);
int chat_input_read(struct chat_input *in, char **text, size_t *bytes, struct error *e);

/* ---- chat_editor.c ---- */

struct chat_editor;
int chat_editor_open(struct chat_editor **out, struct error *e);
void chat_editor_close(struct chat_editor *d);
/* One line as it was accepted, its newline included; *line is the editor's. more: it goes on with what was read before. */
int chat_editor_read(struct chat_editor *d, bool more, const char **line, size_t *bytes);
/* Terminals that cannot say what was pasted: lines that are there already came together with this one. */
bool chat_editor_pasted(const struct chat_editor *d);
void chat_editor_remember(struct chat_editor *d, const char *text);
