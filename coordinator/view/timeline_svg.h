/* The timeline as a picture: sweeps, the three stages, what the host ring held, and GB/s, over one axis of time. */
#pragma once
#include <stdio.h>
#include "coordinator/view/timeline.h"

/* name: how the picture is titled. Ends without an error; the stream keeps its own. */
void timeline_svg(FILE *out, const struct timeline *t, const char *name);
/* "the disk is the bottleneck: ...", by the shares. */
void timeline_verdict(const struct timeline *t, char *out, size_t room);
