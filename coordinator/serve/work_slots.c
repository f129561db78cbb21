#include "coordinator/serve/work_slots.h"

#include <stdio.h>
#include <stdlib.h>

#include "coordinator/serve/choice.h"
#include "coordinator/serve/job.h"
#include "coordinator/serve/out.h"
#include "proto/base/clock.h"

void slots_open(struct slots *s)
{
    *s = (struct slots){0};
    pthread_mutex_init(&s->lock, NULL);
}

void slots_close(struct slots *s)
{
    pthread_mutex_destroy(&s->lock);
    free(s->state);
}

void slots_update(struct slots *s, struct choice *const *list, uint32_t n)
{
    struct slot_state *more;

    pthread_mutex_lock(&s->lock);
    if (n > s->room && (more = realloc(s->state, n * sizeof *more))) {
        s->state = more;
        s->room = n;
    }
    s->count = n < s->room ? n : s->room;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct choice *c = list[i];
        uint32_t prompt = (uint32_t)choice_prompt(c)->count, done = sequence_computed(c->sequence);

        s->state[i] = (struct slot_state){.index = c->index,
                                          .prompt = prompt,
                                          .done = done < prompt ? done : prompt,
                                          .made = c->made,
                                          .limit = sequence_limit(c->sequence),
                                          .seconds = (double)(clock_ns() - c->job->began_ns) / 1e9};
        snprintf(s->state[i].id, sizeof s->state[i].id, "%s", c->job->id);
    }
    pthread_mutex_unlock(&s->lock);
}

void slots_write(struct slots *s, struct buffer *b, uint32_t parallel)
{
    buffer_append_byte(b, '[');
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < parallel; i++) {
        const struct slot_state *x = i < s->count ? &s->state[i] : NULL;

        out_format(b, "%s{\"id\":%u,\"is_processing\":%s", i ? "," : "", i, x ? "true" : "false");
        if (x)
            out_format(b,
                       ",\"request\":\"%s\",\"choice\":%u,\"n_prompt_tokens\":%u,\"n_prompt_done\":%u,"
                       "\"n_decoded\":%u,\"n_ctx\":%u,\"seconds\":%.3f",
                       x->id, x->index, x->prompt, x->done, x->made, x->limit, x->seconds);
        buffer_append_byte(b, '}');
    }
    pthread_mutex_unlock(&s->lock);
    buffer_append_byte(b, ']');
}
