/* What a run learns of the machine for the next plan: how fast the disk and the memory were. */
#pragma once
#include "coordinator/batch/session.h"

/* Keeps them where the run was long enough, and bound by them, so that they are speeds of the machine and not of the run.
 * path: the model's folder. To be called before the engine is closed. */
void calibration_learn(const struct session *s, const char *path);

/* What the stages themselves took in this run's sweeps of one token: a prediction with these speeds is off by what the plan
 * leaves out, and not by what the machine does differently from one run to the next. */
void calibration_lanes(const struct session *s, struct calibration *out);
