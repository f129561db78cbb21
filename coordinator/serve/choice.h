/* One answer of a request: its sequence, and what it says as tokens come.
 *
 *   WAITS --choice_begin()--> SCORES (echo with logarithms) ---> SPEAKS ---> ENDED
 *
 * All of this belongs to the thread that computes. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/batch/completion.h"
#include "coordinator/batch/scheduler.h"
#include "coordinator/chat/think.h"
#include "coordinator/serve/logprobs.h"
#include "coordinator/text/buffer.h"
#include "coordinator/tools/tools.h"

struct job;

struct choice_call { /* of a tool */
    char id[48], *name, *arguments;
};

enum choice_state { CHOICE_WAITS, CHOICE_SCORES, CHOICE_SPEAKS, CHOICE_ENDED };

/* What the choices of all requests share while a token is chosen. */
struct choice_scratch {
    float *logits; /* [vocab] */
    uint8_t *seen; /* [vocab], zero between uses */
};

struct choice {
    struct job *job;
    uint32_t index;
    enum choice_state state;
    struct sequence *sequence; /* while it takes part; its owner is work.c */
    struct completion *completion;
    struct constraint *constraint; /* of the answer's form; NULL: any */
    struct choice_scratch *scratch;
    struct think think;
    struct tools_parser *tools; /* NULL: none may be called */
    struct choice_call *call;
    uint32_t calls;
    struct logprobs logprobs;
    uint32_t *positions; /* that are scored */
    const float *raw;    /* logits of the token that is being chosen, valid until it was handed over */
    struct buffer text, thought;
    uint32_t made, cached;
    uint64_t last_ns; /* of its last token */
    uint32_t seen;    /* tokens that were counted, and when the last of them came */
    uint64_t before_ns;
    bool late;     /* its time is over */
    bool thoughts; /* are told apart; before: calls are told apart before them */
    bool before;
    bool opened;  /* its first event was sent */
    bool stopped; /* by a stop text */
    bool remembered;
    /* events of streams whose answers have parts: the one that is open, and how many there were */
    enum { PART_NONE, PART_TEXT, PART_THOUGHT } part;
    uint32_t parts;
    const char *finish; /* finish_reason, static */
};

void choice_init(struct choice *c, struct job *j, uint32_t index);
void choice_free(struct choice *c);
size_t choice_bytes(const struct choice *c); /* that it has gathered: texts, logarithms, calls */

const struct token_ids *choice_prompt(const struct choice *c);
uint32_t choice_limit(const struct choice *c); /* tokens that its sequence may have */
/* So many tokens of its prompt are computed: noted for those who wait, and told where the request wants to know. */
void choice_progress(struct choice *c, uint32_t done);
/* Its sequence holds the prompt; it joins. */
int choice_begin(struct choice *c, struct scheduler *s, struct choice_scratch *scratch, struct error *e);
/* What it has said so far is kept for prompts that bring its text back. Once, while it has its sequence. */
void choice_remember(struct choice *c);
/* Its sequence has ended: goes on with what comes next, or says its last words and is ENDED. */
int choice_conclude(struct choice *c, struct scheduler *s, struct error *e);
