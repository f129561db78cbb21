/* Plans of programs built by hand (tests/support_program.h): made, or refused as expected. */
#pragma once
#include <stdint.h>
#include "coordinator/plan/cost.h"
#include "coordinator/plan/plan.h"
#include "tests/support_program.h"

/* Both fail the test where there is no such plan; free() it. */
struct plan_shm *plan_with(const struct plan_shm *program, const struct plan_settings *s);
struct plan_shm *plan_of(const struct test_shape *shape, const struct plan_settings *s);
/* That it is refused with -code and says text. */
void expect_no_plan(const struct test_shape *shape, const struct plan_settings *s, int code, const char *text);
/* Host memory of all processes; *c: its parts. */
uint64_t plan_host_bytes(const struct plan_shm *p, uint64_t text, struct cost *c);
