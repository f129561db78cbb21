/* sluice verify: reads everything that a run would read, once, and says what is wrong with it. */
#include <errno.h>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/input.h"
#include "coordinator/cli/packed.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/source/packed.h"
#include "coordinator/source/source.h"
#include "coordinator/verify/manifest.h"
#include "coordinator/verify/verify.h"
#include "coordinator/view/view.h"

static int check(struct verify *v, const struct options *o, struct view *view, struct error *e)
{
    int rc = verify_gather(v, o, e);

    if (!rc) rc = verify_published(v, e);
    if (!rc) rc = packed_folder(source_path(o->source)) ? verify_packed(v, o, view, e) : verify_read(v, o, view, e);
    if (!rc) rc = verify_judge(v, e);
    if (!rc && o->baseline) rc = manifest_compare(v, o->baseline, e);
    return rc;
}

int command_verify(const struct options *o, struct error *e)
{
    struct inputs in = input_all(o);
    struct output_options keep = inputs_options(&in);
    struct output *out = NULL;
    struct verify v = {0};
    struct view *view = NULL;
    int rc;

    if ((rc = packed_folder_check(source_path(o->source), e))) return rc;
    interrupt_setup();
    if ((rc = view_open(&view, o->quiet, NULL, NULL, e))) return rc;
    if (o->out) rc = output_open(&out, o->out, &keep, e); /* not after an hour of reading */
    if (!rc) rc = check(&v, o, view, e);
    if (!rc && out) manifest_write(&v, output_file(out));
    if (rc)
        output_close(out, false, NULL);
    else
        rc = output_close(out, true, e);
    if (!rc) rc = verify_print(&v, o->json, o->verbose > 0, e);
    if (!rc && v.findings)
        rc = error_set(e, EBADMSG, "%s: %zu thing%s wrong with it", o->model, v.findings,
                       v.findings == 1 ? " is" : "s are");
    view_close(view, NULL);
    verify_free(&v);
    return rc;
}
