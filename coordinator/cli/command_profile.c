/* sluice profile: one stage alone, or all together, beside what the machine could do. */
#include <errno.h>
#include <string.h>

#include "coordinator/cli/commands.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/profile/profile.h"
#include "coordinator/view/profile_view.h"

int command_profile(const struct options *o, struct error *e)
{
    static struct profile p; /* tens of kilobytes of counts */
    int what = 0, rc;

    while (what < PROFILES && strcmp(o->profile_what, profile_name((enum profile_what)what))) what++;
    if (what == PROFILES) return error_set(e, EINVAL, "there is no profile of %s", o->profile_what);
    interrupt_setup();
    if ((rc = profile_run(&p, o, (enum profile_what)what, e))) return rc;
    if (o->json) return profile_print_json(&p, e);
    profile_print(&p);
    return 0;
}
