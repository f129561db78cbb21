#include "coordinator/engine/weights.h"
#include "proto/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

int weights_open(struct weights *w, const struct plan_shm *plan, struct error *e)
{
    uint64_t n = plan->files.count;

    *w = (struct weights){
        .plan = plan, .ctime_ns = calloc(n + 1, sizeof *w->ctime_ns), .seen_ns = calloc(n + 1, sizeof *w->seen_ns)};
    if (!w->ctime_ns || !w->seen_ns) {
        weights_close(w);
        return error_set(e, ENOMEM, "out of memory");
    }
    for (uint64_t i = 0; i < n; i++) w->ctime_ns[i] = w->seen_ns[i] = plan_files(plan)[i].ctime_ns;
    return 0;
}

void weights_close(struct weights *w)
{
    free(w->ctime_ns);
    free(w->seen_ns);
    *w = (struct weights){0};
}

const char *weights_path(const struct weights *w, uint32_t file)
{
    return plan_string(w->plan, plan_files(w->plan)[file].name);
}

static int changed(const char *path, const char *what, struct error *e)
{
    return error_set(e, ESTALE,
                     "%s: %s since this run was planned, so what was computed is not to be relied on; let the copy or "
                     "download end and start again",
                     path, what);
}

static int look_at(struct weights *w, uint32_t file, struct error *e)
{
    const struct plan_file *p = plan_files(w->plan) + file;
    const char *path = weights_path(w, file);
    struct stat st;

    if (stat(path, &st)) {
        if (errno == ENOENT || errno == ENOTDIR) return changed(path, "is gone", e);
        return error_set(e, ESTALE, "%s: cannot be looked at any more: %s; start again", path, error_name(errno));
    }
    if ((uint64_t)st.st_ino != p->inode) return changed(path, "was replaced by another file", e);
    if ((uint64_t)st.st_size != p->bytes) return changed(path, "has got another size", e);
    if (clock_nanoseconds(st.st_mtim) != p->mtime_ns) return changed(path, "was written to", e);
    w->seen_ns[file] = clock_nanoseconds(st.st_ctim);
    return 0;
}

int weights_look(struct weights *w, struct error *e)
{
    int rc = 0;

    for (uint32_t i = 0; i < w->plan->files.count && !rc; i++) rc = look_at(w, i, e);
    return rc;
}

bool weights_touched(const struct weights *w, uint32_t file)
{
    return w->seen_ns[file] != w->ctime_ns[file];
}

void weights_accept(struct weights *w, uint32_t file)
{
    w->ctime_ns[file] = w->seen_ns[file];
}
