/* A stub producer: entries whose payload lies in memory that was filled beforehand. See coordinator/profile/stub.h. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/engine/engine.h"
#include "coordinator/engine/latency.h"
#include "proto/base/error.h"
#include "proto/plan.h"

struct stub_source;

/* device: 0 writes the host ring, payload in the arena; 1 the device ring, payload in the cache segment (stub_source_plan()). */
int stub_source_open(struct stub_source **out, struct engine *engine, const struct plan_shm *plan, int device,
                     struct error *e);
void stub_source_close(struct stub_source *s); /* NULL is allowed */

/* Each of the two by one thread, always the same. True when there was something to do. */
bool stub_source_sweep(struct stub_source *s);
bool stub_source_requests(struct stub_source *s);
/* Times that the consumer held entries, of those that came back; zeroes them. Not while the stub stages work. */
void stub_source_latency(struct stub_source *s, struct latency *to);
bool stub_source_stuck(const struct stub_source *s); /* of the requests: one waits for room */

/* A source that writes the device ring wants a host cache of at least so many slots: plan_settings.cache_slots. */
#define STUB_SOURCE_SLOTS 6u
/* Before the engine is opened: of a larger host cache no more is kept than there are tiles, nor than is filled in a moment. */
void stub_source_plan(struct plan_shm *plan);
