/* Compute's half of sharing device memory with transfer (cuda); nothing to do on the cpu.
 *
 *   transfer                                  compute
 *                                        <-   EXPORT memory: one handle of the whole device area
 *                                        <-   EXPORT freed events: a handle for each entry of the device rings
 *   EXPORT ready events                  ->
 *   (opens them)                              (opens them)                                                     */
#pragma once
#include "compute/decoder.h"

int exchange_compute(struct stage *s, struct decoder *d, struct error *e);
