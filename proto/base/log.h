/* Messages to stderr, one line each, prefixed by the process's name. The level and the way are the only global state.
 */
#pragma once
#include <stddef.h>

enum log_level { LOG_QUIET, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_setup(const char *process, enum log_level level);
enum log_level log_get_level(void);

/* Lines of the main thread go there instead, until it is NULL: somebody else writes to the same terminal. */
void log_divert(void (*to)(void *arg, const char *line, size_t bytes), void *arg);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
