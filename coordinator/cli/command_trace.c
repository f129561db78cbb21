/* sluice trace FILE --svg OUT: draws what --trace has written. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/input.h"
#include "coordinator/view/timeline_svg.h"

static int write_file(const struct options *o, const char *data, size_t bytes, struct error *e)
{
    struct inputs in = input_all(o);
    struct output_options keep = inputs_options(&in);
    struct output *out;
    int rc = output_open(&out, o->svg, &keep, e);

    if (rc) return rc;
    fwrite(data, 1, bytes, output_file(out));
    return output_close(out, true, e);
}

int command_trace(const struct options *o, struct error *e)
{
    const char *name = strrchr(o->trace, '/');
    struct timeline *t = NULL;
    char *data = NULL, verdict[320];
    size_t bytes = 0;
    FILE *f;
    int rc = timeline_make(&t, o->trace, e);

    if (rc) return rc;
    f = open_memstream(&data, &bytes);
    if (f) timeline_svg(f, t, name ? name + 1 : o->trace);
    if (!f || fclose(f)) rc = error_set(e, ENOMEM, "no memory for the drawing");
    if (!rc) rc = write_file(o, data, bytes, e);
    timeline_verdict(t, verdict, sizeof verdict);
    if (!rc && !o->quiet) fprintf(stderr, "sluice: %s\n", verdict);
    free(data);
    free(t);
    return rc;
}
