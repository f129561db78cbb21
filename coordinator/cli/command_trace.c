/* sluice trace FILE --svg OUT: draws what --trace has written. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/cli/commands.h"
#include "coordinator/view/timeline_svg.h"

/* All of it, or none. */
static int write_file(const char *path, const char *data, size_t bytes, struct error *e)
{
    FILE *f = fopen(path, "we");
    struct stat st;
    int code = 0;

    if (!f) return error_set(e, errno, "cannot write %s: %s", path, error_name(errno));
    errno = 0;
    if (fwrite(data, 1, bytes, f) != bytes || fflush(f)) code = errno ? errno : EIO;
    if (fclose(f) && !code) code = errno ? errno : EIO;
    if (!code) return 0;
    if (!lstat(path, &st) && S_ISREG(st.st_mode)) unlink(path);
    return error_set(e, code, "cannot write %s: %s", path, error_name(code));
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
    if (!rc) rc = write_file(o->svg, data, bytes, e);
    timeline_verdict(t, verdict, sizeof verdict);
    if (!rc && !o->quiet) fprintf(stderr, "sluice: %s\n", verdict);
    free(data);
    free(t);
    return rc;
}
