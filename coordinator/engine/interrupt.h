/* Ctrl-C and its kin: noted by the handler, seen by whoever waits. */
#pragma once
#include <stdbool.h>

/* First of all: whoever started this program may have blocked or ignored signals for itself, and handed that on. */
void interrupt_begin(void);
void interrupt_setup(void); /* SIGINT, SIGTERM, SIGHUP are noted from now on; SIGPIPE is ignored */
bool interrupted(void);
int interrupt_signal(void); /* which one, 0: none */
int interrupt_fd(void);     /* readable while one is noted */
void interrupt_clear(void); /* chat: the answer was stopped, the chat goes on */
