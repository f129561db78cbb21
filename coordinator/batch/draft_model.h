/* The small model of --draft: opened beside the model, its tokens compared, planned so that all of it lies in memory, and started.
 *
 *   draft_model_open()     config, tensors and tokenizer, each judged as a run's own are
 *   draft_model_plan()     what it takes of the model's memory
 *   draft_model_start()    its stages, which are still starting when it returns */
#pragma once
#include "coordinator/arch/model.h"
#include "coordinator/cli/options.h"
#include "coordinator/draft/neural.h"
#include "coordinator/plan/plan.h"
#include "coordinator/tokenizer/tokenizer.h"

struct draft_model;

struct draft_model_of { /* the model that it guesses for */
    const char *name;
    const struct plan_shm *program;
    const struct tokenizer *tokenizer; /* NULL: only the number of tokens is compared */
    bool planned_only;                 /* the weights need not be there */
};

/* -EINVAL: the tokens differ; and whatever a run of it would be refused for. */
int draft_model_open(struct draft_model **out, const struct options *o, const struct draft_model_of *of,
                     struct error *e);
void draft_model_close(struct draft_model *m);
/* Plans it for what s is, and takes its memory from s. -ENOMEM: more than --draft-memory or its share, with what would do. */
int draft_model_plan(struct draft_model *m, struct plan_settings *s, struct error *e);
uint64_t draft_model_bytes(const struct draft_model *m); /* of memory, once it was planned */
/* Seconds of a step of so many positions and as many rows of logits, as planned. */
double draft_model_seconds(const struct draft_model *m, uint32_t positions);
const char *draft_model_name(const struct draft_model *m);

struct draft_model_watch { /* as neural_config's */
    void (*tick)(void *arg);
    void *tick_arg;
    void (*log)(void *arg, const char *line, size_t bytes);
    void *log_arg;
};
/* run: of the model's plan. */
int draft_model_start(struct draft_model *m, const struct plan_run *run, const struct draft_model_watch *w,
                      struct error *e);
struct neural *draft_model_neural(const struct draft_model *m); /* NULL: it was not started */
uint32_t draft_model_width(const struct draft_model *m);        /* most that one step is asked about */
