/* What every request may ask about the model that is served. Nothing here changes once the server answers, so all threads
 * read it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/batch/instance.h"
#include "coordinator/chat/think.h"
#include "coordinator/tools/tools.h"

#define FACTS_SPOKEN_MAX (THINK_TOKENS_MAX + 16)

struct forms;
struct answers;
struct room;

struct facts {
    struct instance *instance;
    const struct tokenizer *tokenizer;
    struct template *template;        /* NULL: the model has none */
    struct sampler_settings sampling; /* where a request says nothing */
    const uint32_t *eos;
    size_t ends;
    struct think think;         /* marks that its models make; copied for each answer */
    enum tools_form tools_form; /* how its models call tools */
    /* Tokens that are text in a chat, special or not: marks of thoughts, and behind them those of calls. */
    uint32_t spoken[FACTS_SPOKEN_MAX];
    size_t spoken_count, spoken_with_tools;
    char name[256]; /* of the model: the last part of its path */
    char **alias;   /* more of them */
    size_t aliases;
    uint32_t context, vocab;
    uint32_t parallel;       /* sequences at once */
    uint32_t max_tokens;     /* of an answer, where a request says nothing */
    struct forms *forms;     /* of answers: its own lock */
    struct room *room;       /* for what requests hold; NULL: no matter */
    struct answers *answers; /* what chats were told, for those that go on; its own lock. NULL: not kept */
    int64_t created;         /* seconds since 1970 */
};

/* Of an answer, where a request says nothing. */
uint32_t facts_max_tokens(const struct options *o);
/* Of an instance that was started, and outlives the facts. */
int facts_open(struct facts *x, struct instance *i, struct error *e);
/* Chats that go on from an answer take its tokens over, where rows of the cache can be shared. bytes: to keep them in. */
int facts_match_answers(struct facts *x, size_t bytes, struct error *e);
void facts_close(struct facts *x);
bool facts_serves(const struct facts *x, const char *model);
