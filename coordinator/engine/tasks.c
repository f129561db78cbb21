#include "coordinator/engine/tasks.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "proto/base/page.h"

#define STACK_BYTES (64u << 10)

static void *wait_for_end(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

int tasks_check(uint32_t n, struct error *e)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *thread = calloc(n + 1u, sizeof *thread);
    pthread_attr_t attributes;
    sigset_t all, old;
    uint32_t started = 0;
    int rc = 0;

    if (!thread) return error_set(e, ENOMEM, "out of memory");
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, page_stack_bytes(STACK_BYTES));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the thread that asked */
    pthread_mutex_lock(&gate);
    while (started < n && !(rc = pthread_create(&thread[started], &attributes, wait_for_end, &gate))) started++;
    pthread_mutex_unlock(&gate);
    for (uint32_t i = 0; i < started; i++) pthread_join(thread[i], NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    free(thread);
    if (!rc) return 0;
    return error_set(e, rc,
                     "a run needs %u more processes and threads, and this system starts only %u (%s)" TASKS_REMEDY
                     ", or lower --threads",
                     n, started, error_name(rc));
}
