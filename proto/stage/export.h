/* Handles from compute to transfer and back, before both are attached: EXPORT messages of one kind, in pieces of what a
 * message may carry, in order.
 *
 *   stage_send_export()   of one side   ->   stage_receive_export()   of the other, with the same kind and number of bytes */
#pragma once
#include <stdint.h>
#include "proto/stage/stage.h"

int stage_send_export(struct stage *s, enum stage_id to, uint32_t kind, const void *data, uint64_t bytes,
                      struct error *e);
/* Waits for all of it. -EPROTO where something else comes; -ECANCELED, -EPIPE as stage_receive(). */
int stage_receive_export(struct stage *s, uint32_t kind, void *out, uint64_t bytes, struct error *e);
