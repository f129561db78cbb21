/* The logarithms of tokens' probabilities, of the logits as the model gave them: before penalties, temperature and filters. */
#pragma once
#include <stdint.h>
#include "coordinator/serve/facts.h"
#include "coordinator/serve/out.h"
#include "coordinator/text/buffer.h"

struct logprob {
    uint32_t token;
    float logprob; /* NaN: there is none (of a text's first token) */
};

/* A list of tokens that were said or scored; each with the likeliest ones of its place. */
struct logprobs {
    uint32_t top;          /* of each */
    uint32_t count, room;  /* tokens */
    uint32_t sent;         /* of them, written out already */
    struct logprob *entry; /* [room][1 + top]: the token, and the likeliest in their order */
    uint64_t offset;       /* characters of the text before the first one that was not sent */
};

/* logits [vocab] of the place where the token stands; NULL: of the first token there are none. 0 or -ENOMEM. */
int logprobs_add(struct logprobs *l, const float *logits, uint32_t vocab, uint32_t token, struct error *e);
void logprobs_free(struct logprobs *l);
/* What was not written yet, as the value of "logprobs": of a chat {"content":[...],"refusal":null}, else
 * {"tokens":[...],"token_logprobs":[...],"top_logprobs":[...],"text_offset":[...]}. */
void logprobs_write(struct buffer *b, struct logprobs *l, const struct facts *x, bool chat);

/* The text of a token inside of a text, and its bytes, which are no text where it is part of a character. */
void token_text(const struct facts *x, uint32_t token, struct buffer *text, struct buffer *bytes);
