/* What each answer under way does, for whoever looks: copied at the end of each sweep, so that looking disturbs nobody. */
#pragma once
#include <pthread.h>
#include <stdint.h>
#include "coordinator/text/buffer.h"

struct choice;

struct slot_state {
    char id[48];
    uint32_t index, prompt, done, made, limit;
    double seconds;
};

struct slots {
    pthread_mutex_t lock;
    struct slot_state *state;
    uint32_t count, room;
};

void slots_open(struct slots *s);
void slots_close(struct slots *s);
void slots_update(struct slots *s, struct choice *const *list, uint32_t n);
void slots_write(struct slots *s, struct buffer *b, uint32_t parallel); /* a JSON list of `parallel` objects */
