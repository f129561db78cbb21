/* Which rows of the plan's gather table each sweep needs: listed for the reader (proto/rows.h) once for each sweep, however
 * many of its positions have the same token, and as early as the tokens are known.
 *
 *   embedding_announce()   tokens of the sweep after the one under way; as many as there is room for
 *   embedding_order()      of a sweep that is about to start: lists what was not announced, and numbers every position's row
 *   embedding_started()    compute has that order, and what is announced from now on is for the next one
 *   embedding_swept()      that sweep is done, and its rows are forgotten
 *
 * What was announced and is not needed by the next sweep after all is sent to it all the same, and looked at by nobody. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/control.h"
#include "proto/plan.h"

struct embedding {
    const struct plan_shm *plan;
    struct epoch_shm *run;        /* NULL: there is no epoch */
    uint32_t *last;               /* [rows of the table] low bits of the number that a row had last */
    uint32_t *row, mask;          /* [mask + 1] the rows of the last numbers, listed or about to be */
    uint32_t *batch, count;       /* [max_positions] rows to list */
    struct sweep_position *order; /* [max_positions] */
    uint64_t keep;                /* number of the first row of the sweep under way */
    uint64_t first, end;          /* numbers of those of the next one, as far as they are known */
};

int embedding_open(struct embedding *g, const struct plan_shm *plan, struct error *e);
void embedding_close(struct embedding *g);                        /* harmless where it was not opened */
void embedding_begin(struct embedding *g, struct epoch_shm *run); /* a new epoch, where nothing is listed; NULL: none */

void embedding_announce(struct embedding *g, const uint32_t *token, uint32_t n);
/* m: the order, complete; its positions are valid until the next call. -EINVAL: there is no such sweep. */
int embedding_order(struct embedding *g, const struct sweep_position *s, uint32_t n, struct control_message *m,
                    struct error *e);
void embedding_started(struct embedding *g);
void embedding_swept(struct embedding *g);
