/* Streams that outlive their client: a request that names itself (X-Conversation-Id) goes on when its client goes, and can be
 * read again for ten minutes after its end: a page that is loaded anew loses no answer.
 *
 * A name belongs to the key that it came with. The newest request of a name is meant. */
#pragma once
#include <stdbool.h>
#include "coordinator/serve/job.h"

#define STREAMS_MAX     256
#define STREAMS_SECONDS 600
#define STREAMS_BYTES   (64u << 20) /* of requests and answers, or a quarter of the room */

struct streams;

struct streams *streams_open(void); /* NULL: no memory */
void streams_close(struct streams *s);
/* Forgets the answer that is over for the longest (room.h); arg is a struct streams. false: there is none. */
bool streams_reclaim(void *arg);

/* 1 to 64 letters, digits, - and _. */
bool streams_name_good(const char *name);
/* Holds the job; false: there are so many that run that it is not kept. */
bool streams_add(struct streams *s, const char *name, const char *key, struct job *j);
/* Held for the caller; NULL: there is none. */
struct job *streams_find(struct streams *s, const char *name, const char *key);
