#include "coordinator/remote/node_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/hosts/held.h"
#include "proto/base/checksum.h"
#include "proto/base/clock.h"
#include "proto/base/file.h"

#define PIECE      (1u << 20)
#define NAMED_MOST 3u

static int enter(const char *folder, struct error *e)
{
    char *own = strdup(folder), *last;
    struct stat st;
    int rc = 0;

    if (!own) return error_set(e, ENOMEM, "out of memory");
    if (!stat(own, &st) && !S_ISDIR(st.st_mode) && (last = strrchr(own, '/')) && last != own) *last = 0;
    if (chdir(own))
        rc = error_set(e, errno,
                       "%s: %s: the model must lie there on each machine, or in the place that model= of its line in "
                       "--hosts @FILE names",
                       folder, error_name(errno));
    free(own);
    return rc;
}

static int sum_of(int fd, uint64_t bytes, uint64_t *sum)
{
    uint8_t *piece = malloc(PIECE);
    struct checksum c;
    int rc = piece ? 0 : -ENOMEM;

    checksum_begin(&c);
    for (uint64_t at = 0; !rc && at < bytes; at += PIECE) {
        uint64_t n = bytes - at < PIECE ? bytes - at : PIECE;

        rc = file_read_at(fd, piece, n, at);
        if (!rc) checksum_feed(&c, piece, (size_t)n);
    }
    *sum = checksum_end(&c);
    free(piece);
    return rc;
}

static int take(struct plan_file *f, const char *name, struct error *e)
{
    struct stat st;
    uint64_t sum;
    int fd, rc = file_open(name, &fd, &st, e);

    if (rc) return rc;
    if ((uint64_t)st.st_size != f->bytes)
        rc = error_set(e, ESTALE, "%s: has %" PRIu64 " bytes here, and %" PRIu64 " where the run was planned", name,
                       (uint64_t)st.st_size, f->bytes);
    else if (f->header_bytes && (f->header_bytes > f->bytes || sum_of(fd, f->header_bytes, &sum)))
        rc = error_set(e, EIO, "%s: its header cannot be read", name);
    else if (f->header_bytes && sum != f->header_sum)
        rc = error_set(e, ESTALE, "%s: is of another model than where the run was planned (its header differs)", name);
    close(fd);
    if (rc) return rc;
    f->inode = (uint64_t)st.st_ino;
    f->device = (uint64_t)st.st_dev;
    f->mtime_ns = clock_nanoseconds(st.st_mtim);
    f->ctime_ns = clock_nanoseconds(st.st_ctim);
    return 0;
}

int node_files_take(struct plan_shm *plan, const char *folder, struct error *e)
{
    struct plan_file *f = (struct plan_file *)(void *)((char *)plan + plan->files.offset);
    char text[ERROR_TEXT_BYTES] = "";
    uint64_t wrong = 0;
    int rc = enter(folder, e), code = 0;

    for (uint64_t i = 0; !rc && i < plan->files.count; i++) {
        struct error why = {0};
        size_t n = strlen(text);

        if (!take(&f[i], plan_string(plan, f[i].name), &why)) continue;
        if (!wrong) code = why.code;
        if (wrong++ < NAMED_MOST) snprintf(text + n, sizeof text - n, "%s%.250s", n ? "; " : "", why.text);
    }
    if (rc) return rc;
    if (!wrong) return held_check(plan, ".", e);
    if (wrong <= NAMED_MOST) return error_set(e, code, "%.200s: %.800s", folder, text);
    return error_set(e, code, "%.200s: %.700s; and %" PRIu64 " more files", folder, text, wrong - NAMED_MOST);
}
