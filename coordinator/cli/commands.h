/* The commands: one function each, in command_NAME.c. They print results to standard output and messages to standard
 * error, and return 0 or -errno with *e filled; -ECANCELED after Ctrl-C. main turns that into the exit status. */
#pragma once
#include "coordinator/cli/options.h"
#include "proto/base/error.h"

int command_chat(const struct options *o, struct error *e);
int command_run(const struct options *o, struct error *e);
int command_serve(const struct options *o, struct error *e);
int command_batch(const struct options *o, struct error *e);
int command_plan(const struct options *o, struct error *e);
int command_profile(const struct options *o, struct error *e);
int command_logits(const struct options *o, struct error *e);
int command_tokenize(const struct options *o, struct error *e);
int command_detokenize(const struct options *o, struct error *e);
int command_template(const struct options *o, struct error *e);
int command_pack(const struct options *o, struct error *e);
int command_unpack(const struct options *o, struct error *e);
int command_share(const struct options *o, struct error *e);
int command_verify(const struct options *o, struct error *e);
int command_doctor(const struct options *o, struct error *e);
int command_trace(const struct options *o, struct error *e);
int command_completion(const struct options *o, struct error *e);
int command_help(const struct options *o, struct error *e);
