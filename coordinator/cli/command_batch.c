/* sluice batch: a file of requests. */
#include "coordinator/cli/commands.h"
#include "coordinator/serve/batch.h"

int command_batch(const struct options *o, struct error *e)
{
    return batch(o, e);
}
