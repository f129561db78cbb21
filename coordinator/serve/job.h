/* A request on its way: the HTTP side hands it in and reads what is said, the one thread that computes fills it.
 *
 *   QUEUED ---> RUNS ---> done          out only grows; whoever reads keeps his own offset, so that a second reader (a client
 *      \__________/___/                 that came back) gets all of it
 *      gone: nobody reads any more
 *
 * Of a stream, out holds the events; of a whole answer, the body, once it is done. A failure is in fault: of a stream its event
 * is in out as well. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/serve/ask.h"
#include "coordinator/serve/fault.h"
#include "coordinator/text/buffer.h"

struct choice;

struct job {
    atomic_int holders;
    const struct facts *facts;
    struct ask *ask;
    char id[48];
    int64_t created;         /* seconds since 1970 */
    struct buffer body, key; /* as it came, and who sent it: what a repeated request is known by, until it begins */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* on the monotonic clock */
    struct buffer out;
    size_t dropped; /* bytes of out that were sent and are gone */
    bool done;
    bool kept;          /* all of out stays, for those who read it again */
    size_t held;        /* bytes of the room */
    struct fault fault; /* status 0: none */

    atomic_bool gone;
    _Atomic uint64_t gone_ns;
    /* where it is, for those who wait */
    _Atomic uint32_t ahead; /* answers that come before it in the queue */
    _Atomic uint32_t prompt_done, prompt_total;
    atomic_bool runs;

    /* the computing thread's own */
    uint64_t arrived_ns, began_ns, first_ns;
    struct choice *choice; /* [choices] */
    uint32_t choices, begun, ended;
    uint32_t events; /* of a stream that numbers them */
    uint64_t prompt_tokens, cached_tokens, tokens;
    uint64_t thought_tokens; /* of tokens: made while the model was thinking */
    struct job *next;
};

/* Takes the ask and the body over, in any case, and what the body holds of the room; the key is copied. Held once. NULL: no
 * memory. */
struct job *job_new(const struct facts *x, struct ask *a, const char *path, struct buffer body, size_t held,
                    const char *key);
struct job *job_hold(struct job *j);
void job_release(struct job *j);

void job_say(struct job *j, const char *text, size_t bytes); /* appends to out */
void job_fail(struct job *j, const struct fault *f);         /* it is done with an error */
void job_done(struct job *j);
void job_leave(struct job *j); /* its client is gone */

/* What it holds, its choices too, is counted anew in the room; false: there is none for so much, and what it held before stands.
 * Where it is done or has not begun, from any thread. */
bool job_weigh(struct job *j);
void job_too_much(const struct job *j, struct fault *f); /* why it is refused then */
void job_forget_body(struct job *j);                     /* it has begun: nobody attaches any more */

/* Waits until there is more than `had` bytes of out, or it is done, up to ms. */
void job_wait(struct job *j, size_t had, unsigned ms);
