/* A real terminal: tmux with one window of a given size, in which a command runs. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* NULL: there is a tmux; else why a test that needs one skips. */
const char *tmux_refused(void);

/* Starts a server of its own with its socket in folder. command is for a shell; TERM is tmux's. */
void tmux_start(const char *folder, int columns, int rows, const char *command);
void tmux_end(void); /* also where a test failed before its end: call it in the teardown too */
void tmux_resize(int columns, int rows);
/* Keys as tmux names them: "Enter", "C-z", "Left", or text, one argument each; ends with NULL. */
void tmux_keys(const char *key, ...);
/* Pasted as a mouse would do it: between marks where the program has asked for them. */
void tmux_paste(const char *text);
/* What is shown, and what was scrolled away before it; rows that wrap are one line. Valid until the next call. */
const char *tmux_text(void);
/* The same of the screen alone, row by row. */
const char *tmux_screen(void);
/* Waits until what tmux_text() gives holds text; fails after 20 seconds. */
void tmux_wait(const char *text);
/* Waits until `stty -a` says this of the window's terminal ("-icanon"); fails after 20 seconds. */
void tmux_wait_stty(const char *flag);
/* The process that the command began as. */
int tmux_pid(void);
