/* The coordinator in place of stages that were not started, so that one stage can be measured by itself (profile).
 *
 *   sink     stands in for transfer: takes what the reader publishes and gives it back at once. Answers compute's wishes too: where
 *            the model has experts, some of their tiles are asked for all the time.
 *   hand-on  stands in for the reader and compute around transfer: entries go in at one end and are given back at the other.
 *   source   stands in for the reader (and transfer, where it was not started) for compute: every tile of every sweep, resident
 *            tiles and whatever compute asks for, all from memory that was filled once; only headers of packed units change. What
 *            lies there are no weights, but numbers of the same form and a harmless size: the arithmetic is the same.
 *
 * Stub stages work in threads of their own, between stub_go() and stub_pause(). */
#pragma once
#include <stdint.h>
#include "coordinator/engine/engine.h"
#include "coordinator/engine/latency.h"
#include "proto/base/error.h"
#include "proto/plan.h"

enum stub_kind { STUB_SINK, STUB_HAND_ON, STUB_SOURCE };

struct stub;

/* engine: ready (engine_ready()), with the stages that are not stubbed; plan: its plan, without pins. Both must outlive it. */
int stub_open(struct stub **out, enum stub_kind kind, struct engine *engine, const struct plan_shm *plan,
              struct error *e);
void stub_close(struct stub *p); /* NULL is allowed; before the engine is closed */

void stub_go(struct stub *p);
void stub_pause(struct stub *p); /* returns when the stub stages have stopped */

/* Of the stage between the stub stages: time that each tile took in it, and bytes that came out. Only while paused; zeroed by
 * stub_go(). */
const struct latency *stub_latency(const struct stub *p);
uint64_t stub_bytes(const struct stub *p);
