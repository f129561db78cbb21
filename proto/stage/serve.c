#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "proto/stage/private.h"

#define GATHER_MS 5 /* records of a trace go together; they come faster than a thousand a millisecond from no model */

struct worker {
    int (*work)(void *arg, struct error *e);
    void *arg;
    struct error *error;
    int rc;
    struct stage *stage;
    _Atomic bool ended;
};

static void *worker_main(void *p)
{
    struct worker *w = p;

    w->rc = w->work(w->arg, w->error);
    /* The others learn of a failure at once; its text follows by message. */
    if (w->rc && w->rc != -ECANCELED && w->rc != -EPIPE) epoch_fail(w->stage->run, w->stage->me);
    atomic_store(&w->ended, true);
    control_wake(w->stage->control);
    return NULL;
}

static int compare(struct stage *s, uint32_t file, struct error *e)
{
    struct control_message answer = {.type = CONTROL_COMPARED};
    struct error why = {0};
    int rc = s->compare ? s->compare(s->compare_arg, file, &why)
                        : error_set(&why, ENOTSUP, "the %s stage reads no files", stage_name(s->me));

    if (rc == -ECANCELED) return rc; /* nobody waits for it any more */
    answer.compared.file = file;
    answer.compared.code = (uint32_t)-rc;
    memcpy(answer.compared.text, why.text, sizeof answer.compared.text);
    return control_send(s->control, 0, &answer, e);
}

int stage_serve(struct stage *s, int (*work)(void *arg, struct error *e), void *arg, struct error *e)
{
    struct worker w = {.work = work, .arg = arg, .error = e, .stage = s};
    struct control_message m;
    struct error local = {0};
    pthread_t thread;
    int rc;

    s->serving = true;
    rc = pthread_create(&thread, NULL, worker_main, &w);
    if (rc) return error_set(e, rc, "cannot start a thread: %s", error_name(rc));
    while (!atomic_load(&w.ended)) {
        bool records = stage_traces_wait(s);

        rc = stage_receive(s, &m, records ? GATHER_MS : -1, &local);
        if (rc == -ECANCELED) epoch_stop(s->run);
        if (!rc && m.type == CONTROL_MEASURE) stage_measure(s, &m, &local);
        if (!rc && m.type == CONTROL_COMPARE) compare(s, m.compare.file, &local);
        if (records) stage_send_traces(s);
    }
    pthread_join(thread, NULL);
    s->serving = false;
    stage_send_traces(s);
    return w.rc;
}
