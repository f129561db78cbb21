/* The coordinator in place of stages that were not started, so that one stage can be measured by itself (profile).
 *
 *   sink     plays transfer: takes what the reader publishes and gives it back at once. Plays compute's wishes too: where
 *            the model has experts, some of their tiles are asked for all the time.
 *   hand-on  plays the reader and compute around transfer: entries go in at one end and are given back at the other.
 *   source   plays the reader (and transfer, where it was not started) for compute: every tile of every sweep, resident
 *            tiles and whatever compute asks for, all from memory that was filled once and is never written again. What
 *            lies there are no weights, but numbers of the same form and a harmless size: the arithmetic is the same.
 *
 * Players work in threads of their own, between play_go() and play_pause(). */
#pragma once
#include <stdint.h>
#include "coordinator/engine/engine.h"
#include "coordinator/engine/latency.h"
#include "proto/base/error.h"
#include "proto/plan.h"

enum play_kind { PLAY_SINK, PLAY_HAND_ON, PLAY_SOURCE };

struct play;

/* engine: ready (engine_ready()), with the stages that are not played; plan: its plan, without pins. Both must outlive it. */
int play_open(struct play **out, enum play_kind kind, struct engine *engine, const struct plan_shm *plan,
              struct error *e);
void play_close(struct play *p); /* NULL is allowed; before the engine is closed */

void play_go(struct play *p);
void play_pause(struct play *p); /* returns when the players have stopped */

/* Of the stage between the players: time that each tile took in it, and bytes that came out. Only while paused; zeroed by
 * play_go(). */
const struct latency *play_latency(const struct play *p);
uint64_t play_bytes(const struct play *p);
