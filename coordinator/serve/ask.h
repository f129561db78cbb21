/* What a request asks for, read from its body and checked whole: once it is here it can be computed.
 *
 *   body --ask_completion() / ask_chat()--> struct ask --work_submit()--> answers
 *
 * Every parameter is honoured or refused by name. Nothing of it changes afterwards. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/serve/facts.h"
#include "coordinator/serve/fault.h"

enum ask_api { ASK_CHAT, ASK_COMPLETION, ASK_RESPONSES, ASK_MESSAGES }; /* all but the second are chats */

#define ASK_LOGPROBS_MAX 20

struct ask_bias {
    uint32_t token;
    float bias;
};

struct ask {
    enum ask_api api;
    bool stream, usage; /* events; with a last one that tells the usage */
    bool progress;      /* events that tell how far the prompt is */
    bool echo, ignore_eos, raw_reasoning;
    bool thinks; /* the prompt ends within an open tag of thinking */
    char *text;  /* of a chat's prompt, where answers are kept; or NULL */
    size_t text_bytes;
    struct token_ids *prompt;
    uint32_t prompts, n; /* n choices of each */
    uint64_t max_tokens; /* 0: the prompt is scored, nothing is said */
    struct sampler_settings sampling;
    double presence, frequency;
    struct ask_bias *bias;
    size_t biases;
    char **stop;
    size_t stops;
    int logprobs;            /* alternatives to tell of each token; -1: no logarithms at all */
    double timeout_s;        /* 0: none */
    json_t *tools;           /* that may be called; NULL: none. A request's own copy */
    const char *only;        /* the one that must be; the body's, while it is read */
    struct grammar *grammar; /* the form of each answer; NULL: any */
    json_t *frame;           /* parts of the request that the answer repeats (responses) */
    char model[256];         /* as it was asked for */
};

int ask_completion(struct ask **out, const struct facts *x, const json_t *body, struct fault *f);
int ask_chat(struct ask **out, const struct facts *x, const json_t *body, struct fault *f);
/* The same of Anthropic's /v1/messages and of OpenAI's /v1/responses: the body becomes one of a chat. */
int ask_messages(struct ask **out, const struct facts *x, const json_t *body, struct fault *f);
int ask_responses(struct ask **out, const struct facts *x, const json_t *body, struct fault *f);
void ask_free(struct ask *a);

/* The tokens of a chat's messages, given these tools (NULL: none); *close: the tag that ends a thought within which they end, or NULL (close NULL: no matter). And the text that
 * they are made from (NULL: not wanted), the caller's. */
int ask_chat_prompt(const struct facts *x, const json_t *body, const json_t *tools, struct token_ids *ids, char **text,
                    size_t *bytes, const char **close, struct fault *f);

/* Is this model served? name: as it was asked for. */
int ask_model(const struct facts *x, const json_t *body, char *name, size_t room, struct fault *f);
/* Is every parameter one of a chat's? For those that only want its prompt. */
int ask_chat_known(const json_t *body, struct fault *f);

/* ---- for ask_*.c ---- */

/* What both ways of asking share: sampling, lengths, stop texts, streaming. */
int ask_common(struct ask *a, const struct facts *x, const json_t *body, struct fault *f);
int ask_max_tokens(struct ask *a, const struct facts *x, const json_t *body, struct fault *f);
int ask_check_length(const struct ask *a, const struct facts *x, const char *param, struct fault *f);
/* The body of a chat, a new reference. count: only the prompt is wanted. */
int ask_messages_chat(json_t **chat, const json_t *body, bool count, struct fault *f);
/* What may be called; *forced: something must. */
int ask_tools(struct ask *a, const struct facts *x, const json_t *body, bool *forced, struct fault *f);
/* Then the form of the answer is that of calls. lead: as forms_read(). */
int ask_force(struct ask *a, const struct facts *x, const json_t *body, const char *lead, struct fault *f);
