/* A model that answers: the folder opened, a plan made, the stages running, and the scheduler that gives them work.
 *
 *   instance_load()    model and tokenizer only: enough to count a prompt's tokens
 *   instance_start()   plans and starts the stages, which are still starting when it returns
 *   ... sequences join instance_scheduler() ...
 *   instance_close()   keeps what was learnt of the machine, and ends it all */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/arch/model.h"
#include "coordinator/batch/observer.h"
#include "coordinator/batch/parts.h"
#include "coordinator/batch/scheduler.h"
#include "coordinator/cli/options.h"
#include "coordinator/draft/drafter.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/plan/plan.h"
#include "coordinator/tokenizer/tokenizer.h"

struct instance;
struct draft_model;

struct instance_config {
    const struct options *options;         /* must outlive the instance */
    bool text;                             /* a tokenizer is needed */
    enum parts_template template;          /* is a chat template? */
    uint32_t prompt_tokens;                /* known length of the longest prompt, 0: unknown */
    const struct batch_observer *observer; /* copied; NULL: nobody looks */
    const struct guesser *guesser;         /* copied; NULL: nobody guesses */
    uint32_t guesses;                      /* of one sweep, at most */
};

/* Of the budget, what who asks keeps for himself: a share of it within bounds, and the least where all else would not fit. */
struct instance_beside {
    uint32_t share; /* 0: nothing */
    uint64_t least, most;
};

/* What it will be asked to do at most; 0 in a number: one, or unknown. */
struct instance_load {
    uint32_t prompt_tokens; /* of the longest prompt */
    uint32_t all_tokens;    /* of all prompts that are there from the start */
    uint32_t max_logits;    /* rows of one sweep */
    uint32_t want_tokens;   /* prompt and answer of the longest, as far as that can be guessed */
    uint32_t sequences;     /* at once */
    bool fewer;             /* or as many of them as the memory has room for, */
    bool fastest;           /* or as together give the most tokens per second: their KV rows are taken from the pins */
    struct instance_beside beside;
};

int instance_load(struct instance **out, const struct instance_config *c, struct error *e);
int instance_start(struct instance *i, const struct instance_load *l, struct error *e);
void instance_close(struct instance *i);

struct model *instance_model(const struct instance *i);
const struct tokenizer *instance_tokenizer(const struct instance *i);
struct template *instance_template(const struct instance *i); /* NULL: the source has none, or none was asked for */
const struct options *instance_options(const struct instance *i);

/* ---- once it was started ---- */

struct scheduler *instance_scheduler(const struct instance *i);
uint32_t instance_context(const struct instance *i); /* tokens that a sequence may have: the model's, and the cache's */
/* How tokens are chosen where nothing else is asked for: the options, then the folder's own defaults. The seed is chosen
 * once. And what ends an answer (ends.h): none with --ignore-eos. */
struct sampler_settings instance_sampling(const struct instance *i);
void instance_end_tokens(const struct instance *i, const uint32_t **eos, size_t *count);

uint64_t instance_beside(const struct instance *i); /* bytes of the budget that were left to who asks */
const struct plan_shm *instance_plan(const struct instance *i);
const struct plan_summary *instance_summary(const struct instance *i);
const struct scheduler_times *instance_times(const struct instance *i);
void instance_stats(const struct instance *i, struct engine_stats *out);
void instance_rest(struct instance *i); /* nothing will be asked of it for a while: engine_rest() */
struct engine *instance_engine(const struct instance *i);
/* Where the prediction of a token comes from: "first sweep", "measured before", "assumed". */
const char *instance_predicted_from(const struct instance *i);
double instance_predicted_prompt_seconds(const struct instance *i); /* 0: the prompt's length was not known */
/* What came of guessing; false: nobody guesses in this run. */
bool instance_guessing(const struct instance *i, struct drafter_stats *out);
const struct draft_model *instance_small(const struct instance *i); /* of --draft; NULL: there is none */
/* A token's seconds as the plan says with the speeds that the lanes had in this run; 0: there was no such sweep. */
double instance_seconds_by_lanes(const struct instance *i);
