/* An engine over another one, whose reads meet faults (proto/base/faults.h): what a bad disk does, without one. Not linked into
 * a reader that is built for people; tests link it as it is. */
#pragma once
#include "proto/base/faults.h"
#include "reader/engine.h"

/* Takes below over. what is copied; depth: reads in flight that below was opened for. */
int io_engine_faults_open(struct io_engine **out, struct io_engine *below, const struct faults *what, uint32_t depth,
                          struct error *e);
