/* sluice verify: reads everything that a run would read, once, and says what is wrong with it. */
#include <errno.h>

#include "coordinator/cli/commands.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/verify/manifest.h"
#include "coordinator/verify/verify.h"
#include "coordinator/view/view.h"

int command_verify(const struct options *o, struct error *e)
{
    struct verify v = {0};
    struct view *view = NULL;
    int rc;

    interrupt_setup();
    if ((rc = view_open(&view, o->quiet, NULL, e))) return rc;
    rc = verify_gather(&v, o, e);
    if (!rc) rc = verify_published(&v, e);
    if (!rc) rc = verify_read(&v, o, view, e);
    if (!rc) rc = verify_judge(&v, e);
    if (!rc && o->baseline) rc = manifest_compare(&v, o->baseline, e);
    if (!rc && o->out) rc = manifest_write(&v, o->out, e);
    if (!rc) rc = verify_print(&v, o->json, o->verbose > 0, e);
    if (!rc && v.findings)
        rc = error_set(e, EBADMSG, "%s: %zu thing%s wrong with it", o->model, v.findings,
                       v.findings == 1 ? " is" : "s are");
    view_close(view, NULL);
    verify_free(&v);
    return rc;
}
