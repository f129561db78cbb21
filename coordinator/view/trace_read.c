#include "coordinator/view/trace_read.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/json.h"
#include "proto/base/file.h"

#define LINE_MAX_BYTES 4096u

struct reading {
    const char *path;
    unsigned long line;
    trace_visit *visit;
    void *arg;
    struct error *e;
};

static int not_ours(const struct reading *r, const char *what)
{
    return error_set(r->e, EINVAL, "%s: line %lu: %s: not a trace that `sluice run --trace` has written", r->path,
                     r->line, what);
}

static bool phase_of(const char *name, enum trace_process p, enum trace_phase *out)
{
    static const struct {
        const char *name;
        enum trace_phase phase;
    } known[] = {{"sweep", PHASE_SWEEP},         {"read", PHASE_READ}, {"ready", PHASE_READY},
                 {"hand over", PHASE_HAND_OVER}, {"copy", PHASE_COPY}, {"compute", PHASE_COMPUTE},
                 {"draft", PHASE_DRAFT}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name)) {
            *out = known[i].phase;
            return (p == TRACE_SWEEPS) == (*out == PHASE_SWEEP || *out == PHASE_DRAFT);
        }
    return false;
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static int read_event(const struct reading *r, const json_t *o)
{
    const char *name = json_string_value(json_object_get(o, "name")), *ph = json_string_value(json_object_get(o, "ph"));
    const json_t *args = json_object_get(o, "args");
    double pid = number(o, "pid"), tid = number(o, "tid"), ts = number(o, "ts"), dur = number(o, "dur"),
           positions = number(args, "positions"), guesses = number(args, "guesses");
    struct trace_event x = {0};

    if (!name || !ph) return not_ours(r, "no event");
    if (!strcmp(ph, "M")) return 0;
    if (strcmp(ph, "X") != 0 || !(pid >= 1 && pid < (int)TRACE_PROCESSES) ||
        !(tid >= 0 && tid < LANES * (double)TRACE_REQUESTS))
        return not_ours(r, "an unknown event");
    x.process = (enum trace_process)(int)pid;
    if (!phase_of(name, x.process, &x.phase)) return not_ours(r, "an unknown event");
    if (!(fabs(ts) < 1e15) || !(dur >= 0 && dur < 1e15)) return not_ours(r, "a time out of range");
    x.request = tid >= TRACE_REQUESTS;
    x.track = (uint32_t)tid % TRACE_REQUESTS;
    x.from = ts / 1e6;
    x.to = (ts + dur) / 1e6;
    x.bytes = number(args, "bytes");
    if (!(x.bytes >= 0 && x.bytes < 1e18)) return not_ours(r, "a size out of range");
    x.positions = positions >= 0 && positions < 4e9 ? (uint32_t)positions : 0;
    x.guesses = guesses >= 0 && guesses <= positions ? (uint32_t)guesses : 0;
    return r->visit(r->arg, &x, r->e);
}

/* last: the file ends here, perhaps in the middle of this line. */
static int read_line(const struct reading *r, char *line, bool last)
{
    size_t n = strlen(line);
    struct error why;
    json_t *o;
    int rc;

    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r' || line[n - 1] == ',')) n--;
    if (r->line == 1) return n == 1 && *line == '[' ? 0 : not_ours(r, "it does not begin with [");
    if (!n || (n == 1 && *line == ']')) return 0;
    rc = json_read_text(&o, line, n, r->path, 0, &why);
    if (rc == -ENOMEM) return error_set(r->e, ENOMEM, "out of memory");
    if (rc) return last ? 0 : not_ours(r, "no JSON");
    rc = read_event(r, o);
    json_decref(o);
    return rc;
}

int trace_read(const char *path, trace_visit *visit, void *arg, struct error *e)
{
    struct reading r = {.path = path, .visit = visit, .arg = arg, .e = e};
    char line[LINE_MAX_BYTES];
    FILE *f = file_named_stream(path, e);
    int rc = 0, c;

    if (!f) return -e->code;
    while (!rc && fgets(line, sizeof line, f)) {
        r.line++;
        if (strlen(line) == sizeof line - 1 && line[sizeof line - 2] != '\n') {
            rc = not_ours(&r, "a line that is too long");
            break;
        }
        if ((c = getc(f)) != EOF) ungetc(c, f);
        rc = read_line(&r, line, c == EOF);
    }
    if (!rc && ferror(f)) rc = error_set(e, EIO, "%s: cannot be read: %s", path, error_name(EIO));
    if (!rc && !r.line) rc = error_set(e, EINVAL, "%s: an empty file is no trace", path);
    fclose(f);
    return rc;
}
