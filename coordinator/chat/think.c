#include "coordinator/chat/think.h"

#include <string.h>

#include "coordinator/tokenizer/tokenizer.h"

enum kind { TAG, SEED, THOUGHT, BRACKET, COMMAND, CHANNEL, KINDS };
enum role { OPEN, CLOSE, DROP };

static const struct mark {
    enum kind kind;
    enum role role;
    const char *text;
} marks[] = {
    {TAG, OPEN, "<think>"},
    {TAG, CLOSE, "</think>"},
    {SEED, OPEN, "<seed:think>"},
    {SEED, CLOSE, "</seed:think>"},
    {THOUGHT, OPEN, "<thought>"},
    {THOUGHT, CLOSE, "</thought>"},
    {BRACKET, OPEN, "[THINK]"},
    {BRACKET, CLOSE, "[/THINK]"},
    {COMMAND, OPEN, "<|START_THINKING|>"},
    {COMMAND, CLOSE, "<|END_THINKING|>"},
    {COMMAND, DROP, "<|START_RESPONSE|>"},
    {COMMAND, DROP, "<|END_RESPONSE|>"},
    {CHANNEL, OPEN, "<|channel|>analysis<|message|>"},
    {CHANNEL, OPEN, "<|channel|>commentary<|message|>"},
    {CHANNEL, CLOSE, "<|channel|>final<|message|>"},
    {CHANNEL, DROP, "<|start|>assistant"},
    {CHANNEL, DROP, "<|end|>"},
};
#define MARKS (sizeof marks / sizeof *marks)

/* Tokens that make up a mark; the first of a kind tells whether the model knows it. */
static const struct {
    enum kind kind;
    const char *text;
} tokens[] = {{TAG, "<think>"},
              {TAG, "</think>"},
              {SEED, "<seed:think>"},
              {SEED, "</seed:think>"},
              {THOUGHT, "<thought>"},
              {THOUGHT, "</thought>"},
              {BRACKET, "[THINK]"},
              {BRACKET, "[/THINK]"},
              {COMMAND, "<|START_THINKING|>"},
              {COMMAND, "<|END_THINKING|>"},
              {COMMAND, "<|START_RESPONSE|>"},
              {COMMAND, "<|END_RESPONSE|>"},
              {CHANNEL, "<|channel|>"},
              {CHANNEL, "<|message|>"},
              {CHANNEL, "<|start|>"},
              {CHANNEL, "<|end|>"}};
_Static_assert(sizeof tokens / sizeof *tokens <= THINK_TOKENS_MAX, "room for the tokens of all marks");

size_t think_setup(struct think *t, const struct tokenizer *tokenizer, uint32_t ids[THINK_TOKENS_MAX])
{
    size_t n = 0;

    t->kinds = 1u << TAG;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        int64_t id = tokenizer_token_id(tokenizer, tokens[i].text);
        bool first = !i || tokens[i].kind != tokens[i - 1].kind;

        if (first && id >= 0) t->kinds |= 1u << tokens[i].kind;
        if (id >= 0 && t->kinds >> tokens[i].kind & 1) ids[n++] = (uint32_t)id;
    }
    return n;
}

bool think_channels(const struct think *t)
{
    return t->kinds >> CHANNEL & 1;
}

void think_begin(struct think *t, bool inside)
{
    t->inside = inside;
    t->said = t->fresh = false;
    t->bytes = 0;
}

static int say(struct think *t, const char *text, size_t bytes, struct error *e)
{
    while (bytes && t->fresh && (*text == '\n' || *text == ' ')) {
        text++;
        bytes--;
    }
    if (!bytes) return 0;
    t->fresh = false;
    for (size_t i = 0; i < bytes && !t->inside && !t->said; i++) t->said = !strchr(" \n\t", text[i]);
    return t->text(t->arg, t->inside, text, bytes, e);
}

static bool means(const struct think *t, const struct mark *m)
{
    if (!(t->kinds >> m->kind & 1)) return false;
    if (m->kind == CHANNEL || m->role == DROP) return true;
    return m->role == CLOSE ? t->inside : !t->inside && !t->said;
}

/* What is held begins a mark: that one, *whole where it is all of it. */
static const struct mark *begins(const struct think *t, bool *whole)
{
    for (size_t i = 0; i < MARKS; i++) {
        size_t n = strlen(marks[i].text);

        if (!means(t, &marks[i]) || t->bytes > n || memcmp(t->held, marks[i].text, t->bytes)) continue;
        *whole = t->bytes == n;
        return &marks[i];
    }
    return NULL;
}

/* One byte more of a possible mark; a mark is never longer than held. */
static int step(struct think *t, char c, struct error *e)
{
    const struct mark *m = NULL;
    bool whole = false;
    int rc;

    t->held[t->bytes++] = c;
    while (t->bytes && !(m = begins(t, &whole))) { /* no mark: the first byte is text */
        if ((rc = say(t, t->held, 1, e))) return rc;
        memmove(t->held, t->held + 1, --t->bytes);
    }
    if (m && whole) {
        if (m->role != DROP) t->inside = m->role == OPEN;
        t->fresh = true;
        t->bytes = 0;
    }
    return 0;
}

int think_push(struct think *t, const char *text, size_t bytes, struct error *e)
{
    size_t from = 0;
    int rc;

    while (from < bytes) {
        size_t plain = t->bytes ? 0 : bytes - from;

        for (size_t i = 0; i < plain; i++)
            if (text[from + i] == '<' || text[from + i] == '[') plain = i;
        if ((rc = say(t, text + from, plain, e))) return rc;
        from += plain;
        if (from < bytes && (rc = step(t, text[from++], e))) return rc;
    }
    return 0;
}

int think_end(struct think *t, struct error *e)
{
    size_t n = t->bytes;

    t->bytes = 0;
    return say(t, t->held, n, e);
}

const char *think_left_open(const struct think *t, const char *prompt, size_t bytes)
{
    const char *end = prompt + bytes;

    for (size_t i = 0; i < MARKS; i++) {
        const char *open = marks[i].text, *close = marks[i + 1 < MARKS ? i + 1 : i].text, *at = prompt, *last = NULL;

        if (marks[i].role != OPEN || marks[i].kind == CHANNEL || !(t->kinds >> marks[i].kind & 1)) continue;
        while ((at = memmem(at, (size_t)(end - at), open, strlen(open)))) last = at++;
        if (last && !memmem(last, (size_t)(end - last), close, strlen(close))) return close;
    }
    return NULL;
}
