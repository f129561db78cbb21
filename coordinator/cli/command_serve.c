/* sluice serve: answers over HTTP. */
#include "coordinator/cli/commands.h"
#include "coordinator/serve/serve.h"

int command_serve(const struct options *o, struct error *e)
{
    return serve(o, e);
}
