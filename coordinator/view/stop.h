/* Ctrl-Z and fg (SIGTSTP, SIGCONT): the shell gets the terminal as it had left it, and the program takes it again
 * afterwards.
 *
 * What the program has changed at the terminal is told here, so that the handlers can put it back before the process
 * stops, and set the terminal's mode again when it goes on, whatever the program is doing at that moment. What has to
 * be drawn anew is drawn by its owner, who looks at stop_count(). */
#pragma once
#include <termios.h>

enum stop_owner { STOP_LINE, STOP_PASTE, STOP_OWNERS };

/* Sets the handlers; may be called more than once. Where SIGTSTP is ignored it stays so: whoever started the program
 * has no job control. */
void stop_watch(void);
/* A sequence to write to fd before the process stops, which must stay where it is; NULL: there is nothing to undo. */
void stop_undo(enum stop_owner who, int fd, const char *sequence);
/* The mode of standard input: the program's, and the one that the shell had set. NULL: it is the shell's. */
void stop_mode(const struct termios *own, const struct termios *shells);
/* How often the process has gone on after it was stopped, by whatever signal. */
unsigned stop_count(void);
