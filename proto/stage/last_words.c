#include <errno.h>
#include <string.h>

#include "proto/stage/private.h"

void stage_last_words(struct stage *s, int rc, const struct error *e)
{
    struct control_message m = {.type = CONTROL_ERROR, .error.code = (uint32_t)-rc};
    struct error ignored;

    if (!rc || rc == -ECANCELED || rc == -EPIPE) return; /* told to end, or another stage is to blame */
    memcpy(m.error.text, e->text, sizeof m.error.text);
    m.error.text[sizeof m.error.text - 1] = 0;
    if (s->run) epoch_fail(s->run, s->me);
    control_send(s->control, 0, &m, &ignored);
}
