/* Shared by the files of this room; nobody else includes it. */
#pragma once
#include "proto/stage/stage.h"

/* proto/stage/arguments.c: what the coordinator starts a stage with. */
struct stage_arguments {
    const char *address, *fault;
    long parent;
    int log;
};
int stage_parse(int argc, char **argv, struct stage_arguments *a, struct error *e); /* sets the log up, too */

/* proto/stage/mapping.c: maps and checks the segments that SETUP names; stage_unmap() is harmless at any time. */
int stage_map(struct stage *s, const struct control_message *setup, struct error *e);
void stage_unmap(struct stage *s);

/* proto/stage/heartbeat.c */
int stage_heartbeat_start(struct stage *s, struct error *e);
void stage_heartbeat_stop(struct stage *s);

/* proto/stage/traces.c */
int stage_traces_open(struct stage *s, struct error *e); /* nothing where the run does not trace */
void stage_traces_close(struct stage *s);
/* Are there records to be sent? If not, the next one wakes the thread that listens. */
bool stage_traces_wait(struct stage *s);
void stage_traces_end(struct stage *s); /* what was under way at the end, and how many records were lost */

/* proto/stage/last_words.c: marks the epoch as failed and sends ERROR, where it is this stage that failed. */
void stage_last_words(struct stage *s, int rc, const struct error *e);
