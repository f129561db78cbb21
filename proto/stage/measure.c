#include <time.h>

#include "proto/base/log.h"
#include "proto/stage/stage.h"

uint64_t stage_cpu_ns(void)
{
    struct timespec t;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t)) return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int stage_measure(struct stage *s, const struct control_message *ask, struct error *e)
{
    struct control_message answer = {.type = CONTROL_MEASURED};
    struct error why = {0};

    if (s->measure && s->measure(s->measure_arg, ask, &answer, &why)) {
        log_warn("%s", why.text);
        answer.measured.ns = 0;
    }
    return control_send(s->control, 0, &answer, e);
}
