/* Connections, and those among them that take too long.
 *
 * A connection is silent until its request is complete, and again after the answer. One that is silent for PEERS_SECONDS is
 * closed; where connections are scarce sooner, and where there are as many as may be, the one that is silent the longest at
 * once. So only those that are answered keep others out. */
#pragma once
#include <stdbool.h>
#include "proto/base/error.h"

#define PEERS_SECONDS 30 /* from the connection, or the answer before, to the request's last byte */

struct peers;
struct peer;

int peers_open(struct peers **out, unsigned most, struct error *e);
void peers_close(struct peers *p);

/* NULL: no memory. */
struct peer *peers_add(struct peers *p, int fd);
void peers_remove(struct peers *p, struct peer *x);
/* Its request is complete and being answered, or the answer is over. */
void peers_set_busy(struct peers *p, struct peer *x, bool busy);
bool peers_answering(struct peers *p);   /* anybody */
bool peer_surplus(const struct peer *x); /* all others were being answered, as many as may be, when it came */
