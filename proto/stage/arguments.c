#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "proto/stage/private.h"

int stage_parse(int argc, char **argv, struct stage_arguments *a, struct error *e)
{
    *a = (struct stage_arguments){.log = LOG_WARN};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--control"))
            a->address = argv[i + 1];
        else if (!strcmp(argv[i], "--parent"))
            a->parent = atol(argv[i + 1]);
        else if (!strcmp(argv[i], "--log"))
            a->log = atoi(argv[i + 1]);
#ifdef SLUICE_FAULTS
        else if (!strcmp(argv[i], "--fault"))
            a->fault = argv[i + 1];
#endif
    }
    log_setup(program_invocation_short_name, (enum log_level)a->log);
    return a->address ? 0 : error_set(e, EINVAL, "this is a part of sluice and is started by it; run: sluice MODEL");
}
