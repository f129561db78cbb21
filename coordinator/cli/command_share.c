/* sluice share: one machine's share of a model, as sparse files of the same names and sizes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/arch/model.h"
#include "coordinator/batch/machines.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/input.h"
#include "coordinator/cli/values.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/hosts/held.h"
#include "coordinator/source/source.h"
#include "proto/base/file.h"
#include "proto/base/output.h"

#define PIECE       (4u << 20)
#define BESIDE_MOST (UINT64_C(64) << 20) /* bytes of a file beside the weights that goes with the first share */

struct sharing {
    const struct options *options;
    struct output_options keep;
    const struct plan_shm *plan;
    struct held held;
    uint8_t *piece;
    uint64_t written;
};

static int copy_range(struct sharing *w, int from, FILE *to, uint64_t offset, uint64_t bytes, struct error *e)
{
    for (uint64_t at = 0; at < bytes; at += PIECE) {
        size_t n = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
        int rc = file_read_at(from, w->piece, n, offset + at);

        if (rc) return error_set(e, -rc, "it cannot be read at %" PRIu64 ": %s", offset + at, error_name(-rc));
        if (fseeko(to, (off_t)(offset + at), SEEK_SET) || fwrite(w->piece, 1, n, to) != n)
            return 0; /* output_failed() */
        if (interrupted()) return error_set(e, ECANCELED, "interrupted");
    }
    w->written += bytes;
    return 0;
}

static const char *name_in(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void place(char path[PATH_MAX], const struct sharing *w, const char *name)
{
    snprintf(path, PATH_MAX, "%s/%s", w->options->out, name);
}

/* Ranges of one file of the plan; the rest stays a hole. */
static int write_weights(struct sharing *w, uint32_t file, struct error *e)
{
    const char *from = plan_string(w->plan, plan_files(w->plan)[file].name);
    char path[PATH_MAX];
    struct output *out = NULL;
    struct stat st;
    int fd, rc = file_open(from, &fd, &st, e), end;

    if (rc) return rc;
    place(path, w, name_in(from));
    rc = output_open(&out, path, &w->keep, e);
    for (uint64_t i = 0; i < w->held.ranges && !rc; i++) {
        const struct held_range *x = &w->held.range[i];

        if (x->file != file) continue;
        rc = copy_range(w, fd, output_file(out), x->offset, x->bytes, e);
        if (rc)
            error_prefix(e, "%s", from);
        else
            rc = output_failed(out, e);
    }
    close(fd);
    end = output_close(out, !rc, rc ? NULL : e);
    return rc ? rc : end;
}

static int write_copy(struct sharing *w, const char *from, const char *name, uint64_t bytes, struct error *e)
{
    char path[PATH_MAX];
    struct output *out = NULL;
    struct stat st;
    int fd, rc = file_open(from, &fd, &st, e), end;

    if (rc) return rc;
    place(path, w, name);
    rc = output_open(&out, path, &w->keep, e);
    if (!rc) rc = copy_range(w, fd, output_file(out), 0, bytes, e);
    if (!rc) rc = output_failed(out, e);
    close(fd);
    end = output_close(out, !rc, rc ? NULL : e);
    return rc ? rc : end;
}

static bool is_weights(const struct sharing *w, const char *name)
{
    for (uint64_t i = 0; i < w->plan->files.count; i++)
        if (!strcmp(name_in(plan_string(w->plan, plan_files(w->plan)[i].name)), name)) return true;
    return false;
}

/* The first machine opens the model: config, tokenizer, templates. */
static int write_beside(struct sharing *w, struct error *e)
{
    const char *folder = w->options->model;
    DIR *d = opendir(folder);
    struct dirent *x;
    int rc = 0;

    while (d && !rc && (x = readdir(d))) {
        char path[PATH_MAX];
        struct stat st;

        snprintf(path, sizeof path, "%.3000s/%s", folder, x->d_name);
        if (*x->d_name == '.' || stat(path, &st) || !S_ISREG(st.st_mode) || is_weights(w, x->d_name) ||
            (uint64_t)st.st_size > BESIDE_MOST || !strcmp(x->d_name, HELD_MARK))
            continue;
        rc = write_copy(w, path, x->d_name, (uint64_t)st.st_size, e);
    }
    if (d) closedir(d);
    return rc;
}

/* First of all: nobody takes what is half there, or a share, for the model. */
static int write_mark(struct sharing *w, struct error *e)
{
    char path[PATH_MAX];
    struct output *out;
    int rc;

    place(path, w, HELD_MARK);
    if ((rc = output_open(&out, path, &w->keep, e))) return rc;
    fprintf(output_file(out), "{\"format\":\"sluice share\",\"version\":1,\"node\":%d,\"bytes\":%" PRIu64 "}\n",
            w->options->node, w->held.bytes);
    return output_close(out, true, e);
}

static int check_folder(const struct options *o, struct error *e)
{
    char folder[PATH_MAX];
    struct stat a, b;

    snprintf(folder, sizeof folder, "%s", o->model);
    if (!stat(folder, &a) && !S_ISDIR(a.st_mode) && strrchr(folder, '/')) *strrchr(folder, '/') = 0;
    if (mkdir(o->out, 0777) && errno != EEXIST) return error_set(e, errno, "%s: %s", o->out, error_name(errno));
    if (!stat(folder, &a) && !stat(o->out, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev)
        return error_set(e, EINVAL, "%s: the model itself lies there; --to another folder", o->out);
    return 0;
}

static int write_all(struct sharing *w, struct error *e)
{
    char written[32], all[32];
    uint64_t bytes = 0;
    int rc = check_folder(w->options, e);

    if (!rc) rc = held_of(&w->held, w->plan, e);
    if (!rc) rc = held_widen(&w->held, w->plan, e);
    if (!rc) rc = write_mark(w, e);
    for (uint64_t i = 0; i < w->plan->files.count && !rc; i++) {
        bytes += plan_files(w->plan)[i].bytes;
        rc = write_weights(w, (uint32_t)i, e);
    }
    if (!rc && !w->options->node) rc = write_beside(w, e);
    if (!rc)
        printf("%s: %s of %s, for machine %d\n", w->options->out, value_size_text(w->written, written, sizeof written),
               value_size_text(bytes, all, sizeof all), w->options->node);
    return rc;
}

int command_share(const struct options *o, struct error *e)
{
    struct inputs in = input_all(o);
    struct sharing w = {.options = o, .keep = inputs_options(&in), .piece = malloc(PIECE)};
    struct model_options mo = {.context = 0};
    struct plan_settings settings;
    struct machines *machines = NULL;
    struct plan_shm *plan = NULL;
    struct model *model = NULL;
    int rc = 0;

    if (!w.piece) rc = error_set(e, ENOMEM, "out of memory");
    if (!rc && (!o->hosts || !o->out || o->node < 0))
        rc = error_set(e, EINVAL, "share needs --hosts, --node N (the first is 0) and --to DIR");
    interrupt_setup();
    if (!rc) rc = model_open_source(&model, o->source, &mo, e);
    if (!rc) rc = plan_settings_from_options(&settings, o, e);
    if (!rc) rc = machines_deal(&machines, o, model_program(model), &settings, e);
    if (!rc) rc = machines_plan(machines, (uint32_t)o->node, &plan, &settings, e);
    if (!rc) {
        w.plan = plan;
        rc = write_all(&w, e);
    }
    held_free(&w.held);
    free(plan);
    machines_close(machines);
    model_close(model);
    free(w.piece);
    return rc;
}
