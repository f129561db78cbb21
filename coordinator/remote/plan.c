/* One machine's plan, made here and sent as bytes. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/hosts/share.h"
#include "coordinator/remote/private.h"

#define MARGIN_LEAST (UINT64_C(128) << 20)

int remote_folder(char *to, size_t room, const char *model, struct error *e)
{
    char *real = realpath(model, NULL);
    struct stat st;

    if (!real || stat(real, &st)) {
        free(real);
        return error_set(e, errno, "%s: %s", model, error_name(errno));
    }
    if (!S_ISDIR(st.st_mode) && strrchr(real, '/') != real) *strrchr(real, '/') = 0;
    snprintf(to, room, "%s", real);
    free(real);
    return 0;
}

/* Free memory less a twelfth, as on this machine. */
static uint64_t modest(uint64_t bytes)
{
    uint64_t margin = bytes / 12 < MARGIN_LEAST ? MARGIN_LEAST : bytes / 12;

    return bytes > 2 * margin ? bytes - margin : bytes / 2;
}

static uint64_t budget(const struct remote *p, const struct remote_host *x, const struct frame_hello *h)
{
    if (x->memory) return x->memory;
    if (x->here || p->settings.host_memory_given) return p->settings.host_memory;
    return modest(h->memory) / (x->beside ? x->beside : 1);
}

/* Each sequence's positions in a cache of so many rows. */
static uint32_t context_of(const struct plan_shm *first, const struct plan_settings *s)
{
    const struct plan_run *r = &first->run;
    uint32_t rows = (r->kv_rows - plan_guess_rows(r->guesses) - s->branches) / (r->sequences ? r->sequences : 1);

    return rows < first->spec.context ? rows : first->spec.context;
}

static struct plan_settings settings_for(const struct remote *p, uint32_t rank, const struct frame_hello *h)
{
    const struct plan_run *r = &p->config.first->run;
    struct plan_settings s = p->settings;

    s.host_memory = budget(p, &p->config.host[rank], h);
    s.shm_free = h->shm;
    s.chunk = r->max_positions;
    s.context = context_of(p->config.first, &s);
    s.sequences = r->sequences;
    s.guesses = r->guesses;
    s.guesses_auto = false;
    s.slot_bytes = p->settings.slot_bytes;
    s.text_bytes = 0;
    s.text_measured = false;
    s.load_peak = 0;
    if (!p->config.threads_given) s.threads = h->cpus;
    if (!p->config.reading_given) {
        s.io_block = s.io_depth = 0;
        s.io_find = IO_FIND_FIRST;
    }
    return s;
}

/* All machines number positions, rows and logits alike. */
static int compare(const struct plan_run *a, const struct plan_run *b, struct error *e)
{
    if (a->max_positions == b->max_positions && a->kv_rows == b->kv_rows && a->sequences == b->sequences &&
        a->guesses == b->guesses && a->kv_form == b->kv_form && a->max_logits == b->max_logits)
        return 0;
    return error_set(e, EINVAL, "its share takes other sweeps (%u positions, %u rows) than here (%u, %u)",
                     b->max_positions, b->kv_rows, a->max_positions, a->kv_rows);
}

/* Paths become those below the model's folder, which each machine has its own place for. */
static void shorten_names(struct plan_shm *program, const char *folder)
{
    struct plan_file *f = (struct plan_file *)(void *)((char *)program + program->files.offset);
    size_t n = strlen(folder);

    for (uint64_t i = 0; i < program->files.count; i++) {
        const char *name = plan_string(program, f[i].name), *last = strrchr(name, '/');

        if (!strncmp(name, folder, n) && name[n] == '/')
            f[i].name += n + 1;
        else if (last)
            f[i].name += (uint64_t)(last + 1 - name);
    }
}

static int pack(void **out, uint64_t *bytes, const struct remote *p, uint32_t rank, const struct plan_shm *plan,
                uint64_t plan_bytes, struct error *e)
{
    const char *folder = p->config.host[rank].folder ? p->config.host[rank].folder : p->folder;
    uint64_t path_bytes = (strlen(folder) / 64 + 1) * 64;
    struct frame_plan *f;

    *bytes = sizeof *f + path_bytes + plan_bytes;
    f = calloc(1, *bytes);
    if (!f) return error_set(e, ENOMEM, "no memory for a plan of %llu bytes", (unsigned long long)plan_bytes);
    *f = (struct frame_plan){
        .epoch = p->epoch, .path_bytes = path_bytes, .plan_bytes = plan_bytes, .rank = rank, .ranks = p->config.ranks};
    strcpy((char *)(f + 1), folder);
    memcpy((char *)(f + 1) + path_bytes, plan, plan_bytes);
    *out = f;
    return 0;
}

int remote_plan(void **out, uint64_t *bytes, const struct remote *p, uint32_t rank, const struct frame_hello *h,
                struct error *e)
{
    struct plan_settings s = settings_for(p, rank, h);
    struct plan_shm *program = NULL, *plan = NULL;
    uint64_t plan_bytes;
    int rc = share_make(&program, p->config.whole, p->config.owner, rank, e);

    if (!rc) shorten_names(program, p->folder);
    if (!rc) rc = plan_build(&plan, &plan_bytes, program, &s, e);
    if (!rc) rc = compare(&p->config.first->run, &plan->run, e);
    if (!rc) rc = pack(out, bytes, p, rank, plan, plan_bytes, e);
    free(plan);
    free(program);
    return rc;
}
