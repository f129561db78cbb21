#include "tests/support_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct plan_shm *plan_with(const struct plan_shm *p, const struct plan_settings *s)
{
    struct error e = {0};
    struct plan_shm *plan;
    uint64_t bytes;

    if (plan_build(&plan, &bytes, p, s, &e)) fail_msg("%s", e.text);
    assert_int_equal(bytes, plan->bytes);
    return plan;
}

struct plan_shm *plan_of(const struct test_shape *shape, const struct plan_settings *s)
{
    struct plan_shm *p = test_image(shape), *plan = plan_with(p, s);

    free(p);
    return plan;
}

uint64_t plan_host_bytes(const struct plan_shm *p, uint64_t text, struct cost *c)
{
    cost_count(c, p, &p->run, p->bytes, text);
    return c->host;
}

void expect_no_plan(const struct test_shape *shape, const struct plan_settings *s, int code, const char *text)
{
    struct error e = {0};
    struct plan_shm *plan, *p = test_image(shape);
    uint64_t bytes;

    assert_int_equal(plan_build(&plan, &bytes, p, s, &e), -code);
    assert_null(plan);
    if (!strstr(e.text, text)) fail_msg("\"%s\" does not say \"%s\"", e.text, text);
    free(p);
}
