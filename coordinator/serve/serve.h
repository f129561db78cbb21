/* sluice serve: OpenAI's protocol over HTTP.
 *
 *   http.c     connections, bounds, keys        routes.c   paths       ask*.c    bodies -> what is asked for
 *   job.c      a request on its way             work.c     the one thread that computes
 *   choice.c   an answer as it is said          reply.c    its words as events or whole
 *
 * Loads the model, listens, and answers until SIGTERM or Ctrl-C: then nothing new is taken, and what runs gets --drain
 * seconds. -ECANCELED: it was told a second time. */
#pragma once
#include "coordinator/cli/options.h"
#include "proto/base/error.h"

#define SERVE_PARALLEL_MOST 64u /* answers at once, where nothing is said */

int serve(const struct options *o, struct error *e);
