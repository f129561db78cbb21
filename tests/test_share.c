/* Shares of a model on machines that are played by engines of this process, each with its three stages, and a thread that
 * carries their messages: the bytes of one machine, for reference models of every architecture and several deals. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/arch/model.h"
#include "coordinator/engine/engine.h"
#include "coordinator/hosts/deal.h"
#include "coordinator/hosts/share.h"
#include "coordinator/plan/plan.h"
#include "proto/base/checksum.h"
#include "proto/link.h"
#include "tests/support_model.h"

#define RANKS_MOST 4u
#define CHUNK      5u /* positions of a sweep */

/* ---- machines ---- */

struct machine {
    struct plan_shm *program, *plan;
    uint64_t plan_bytes;
    struct engine *engine;
    struct engine_peers peers;
    struct epoch_shm *run;
    struct link_shm *_Atomic link;
    size_t run_bytes, link_bytes;
};

struct machines {
    struct machine m[RANKS_MOST];
    uint32_t n;
    pthread_t wire;
    _Atomic bool ends;
    _Atomic uint64_t messages, bytes;
};

static void *map(int fd, size_t *bytes)
{
    struct stat st;
    void *at;

    if (fstat(fd, &st)) return NULL;
    *bytes = (size_t)st.st_size;
    at = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

static int begin(void *arg, uint64_t epoch, int run_fd, int link_fd, struct error *e)
{
    struct machine *m = arg;
    struct link_shm *l;

    (void)epoch;
    m->run = map(run_fd, &m->run_bytes);
    l = map(link_fd, &m->link_bytes);
    if (!m->run || !l) return error_set(e, EPIPE, "cannot map the segments");
    atomic_store(&m->link, l);
    return 0;
}

static int order(void *arg, uint64_t sweep, const struct sweep_position *s, uint32_t n, struct error *e)
{
    (void)arg, (void)sweep, (void)s, (void)n, (void)e;
    return 0;
}

static int look(void *arg, bool *ready, struct error *e)
{
    (void)arg, (void)e;
    *ready = true;
    return 0;
}

static int no_fd(void *arg)
{
    (void)arg;
    return -1;
}

static void rest(void *arg, bool rests)
{
    (void)arg, (void)rests;
}

static bool recoverable(void *arg)
{
    (void)arg;
    return false;
}

static void end(void *arg)
{
    (void)arg;
}

/* One message from a machine to the one that it is for. */
static bool carry(struct machines *x, struct machine *from)
{
    struct link_shm *l = atomic_load(&from->link), *to;
    uint64_t taken, published;
    struct link_message *m;

    if (!l) return false;
    taken = atomic_load(&l->out.taken);
    if (atomic_load_explicit(&l->out.published, memory_order_acquire) == taken) return false;
    m = link_slot(l, &l->out, taken);
    to = m->to < x->n ? atomic_load(&x->m[m->to].link) : NULL;
    if (!to) return false;
    published = atomic_load(&to->in.published);
    if (published - atomic_load_explicit(&to->in.taken, memory_order_acquire) == LINK_SLOTS) return false;
    memcpy(link_slot(to, &to->in, published), m, sizeof *m + m->bytes);
    atomic_fetch_add(&x->messages, 1);
    atomic_fetch_add(&x->bytes, m->bytes);
    atomic_store_explicit(&to->in.published, published + 1, memory_order_release);
    eventcount_notify(&x->m[m->to].run->eventcount[STAGE_COMPUTE]);
    atomic_store_explicit(&l->out.taken, taken + 1, memory_order_release);
    eventcount_notify(&from->run->eventcount[STAGE_COMPUTE]);
    return true;
}

static void *wire(void *arg)
{
    const struct timespec pause = {.tv_nsec = 20000};
    struct machines *x = arg;

    while (!atomic_load(&x->ends)) {
        bool any = false;

        for (uint32_t k = 0; k < x->n; k++) any = carry(x, &x->m[k]) || any;
        if (!any) nanosleep(&pause, NULL);
    }
    return NULL;
}

static struct plan_settings settings_of(const struct golden *g)
{
    return (struct plan_settings){.host_memory = UINT64_C(512) << 20,
                                  .host_memory_given = true,
                                  .shm_free = UINT64_MAX,
                                  .text_bytes = 1 << 20,
                                  .threads = 1,
                                  .context = g->n,
                                  .chunk = CHUNK,
                                  .max_logits = CHUNK,
                                  .log_level = 0};
}

static void open_machine(struct machines *x, uint32_t rank, const struct plan_shm *whole, const uint32_t *owner,
                         const struct golden *g)
{
    struct plan_settings s = settings_of(g);
    struct machine *m = &x->m[rank];
    struct engine_config c = {.peers = owner ? &m->peers : NULL};
    struct error e = {0};

    m->peers = (struct engine_peers){.arg = m,
                                     .rank = rank,
                                     .ranks = x->n,
                                     .begin = begin,
                                     .order = order,
                                     .look = look,
                                     .fd = no_fd,
                                     .rest = rest,
                                     .recoverable = recoverable,
                                     .end = end};
    if (owner && share_make(&m->program, whole, owner, rank, &e)) fail_msg("%s: share %u: %s", g->source, rank, e.text);
    if (plan_build(&m->plan, &m->plan_bytes, owner ? m->program : whole, &s, &e)) fail_msg("plan %u: %s", rank, e.text);
    c.plan = m->plan;
    c.plan_bytes = m->plan_bytes;
    if (engine_open(&m->engine, &c, &e)) fail_msg("machine %u: %s", rank, e.text);
}

static void close_machines(struct machines *x)
{
    for (uint32_t k = 0; k < x->n; k++) engine_close(x->m[k].engine);
    atomic_store(&x->ends, true);
    pthread_join(x->wire, NULL);
    for (uint32_t k = 0; k < x->n; k++) {
        struct machine *m = &x->m[k];

        if (m->run) munmap(m->run, m->run_bytes);
        if (atomic_load(&m->link)) munmap(atomic_load(&m->link), m->link_bytes);
        free(m->plan);
        free(m->program);
    }
}

/* Logits of all positions, sweep by sweep; the caller's. owner NULL: one machine with all of it. */
static float *logits_of(const struct plan_shm *whole, const uint32_t *owner, uint32_t ranks, const struct golden *g)
{
    struct machines x = {.n = ranks};
    uint32_t vocab = whole->spec.vocab, rows;
    float *out = malloc((size_t)g->n * vocab * sizeof *out);
    struct error e = {0};

    for (uint32_t k = 0; k < ranks; k++) open_machine(&x, k, whole, owner, g);
    assert_int_equal(pthread_create(&x.wire, NULL, wire, &x), 0);
    for (uint32_t at = 0; at < g->n; at += CHUNK) {
        struct sweep_position s[CHUNK] = {{0}};
        uint32_t n = g->n - at < CHUNK ? g->n - at : CHUNK;
        const float *logits;

        for (uint32_t i = 0; i < n; i++)
            s[i] = (struct sweep_position){.token = g->tokens[at + i],
                                           .position = at + i,
                                           .row = at + i,
                                           .parent = at + i ? at + i - 1 : ROW_NONE,
                                           .flags = POSITION_LOGITS};
        for (uint32_t k = 1; k < ranks; k++)
            if (engine_sweep_start(x.m[k].engine, s, n, &e)) fail_msg("%s: machine %u: %s", g->source, k, e.text);
        if (engine_sweep(x.m[0].engine, s, n, &logits, &rows, &e)) fail_msg("%s: %s", g->source, e.text);
        assert_int_equal(rows, n);
        memcpy(out + (size_t)at * vocab, logits, (size_t)n * vocab * sizeof *out);
    }
    if (ranks > 1) assert_true(atomic_load(&x.messages) > 0 && atomic_load(&x.bytes) > 0);
    close_machines(&x);
    return out;
}

/* ---- deals ---- */

/* Layers that stay together do, whatever the deal. */
static bool deal(uint32_t *owner, const struct plan_shm *p, uint32_t ranks, bool turns)
{
    struct deal_work w;
    struct error e;
    bool used[RANKS_MOST] = {true};
    bool all = true;

    assert_int_equal(deal_work_open(&w, p, &e), 0);
    for (uint32_t l = 0; l < w.layers; l++) {
        owner[l] = w.unit[l] != l ? owner[w.unit[l]] : turns ? (l + 1) % ranks : l * ranks / w.layers;
        used[owner[l]] = true;
    }
    for (uint32_t k = 0; k < ranks; k++) all = all && used[k];
    deal_work_close(&w);
    return all;
}

static void compare(const char *name, const struct golden *g, const struct plan_shm *p, const float *one,
                    uint32_t ranks, bool turns)
{
    uint32_t *owner = calloc(p->spec.layers + UINT64_C(1), sizeof *owner);
    float *x;

    if (deal(owner, p, ranks, turns)) {
        x = logits_of(p, owner, ranks, g);
        if (memcmp(x, one, (size_t)g->n * p->spec.vocab * sizeof *x))
            fail_msg("%s: other bytes on %u machines %s", name, ranks, turns ? "in turn" : "in ranges");
        free(x);
    }
    free(owner);
}

static uint64_t seen[1024];
static uint32_t seen_count;

/* Has a model of these operations been compared? Others of the kind differ in how weights are stored, which no hop sees. */
static bool is_known(const struct plan_shm *p)
{
    struct checksum c;
    uint64_t sum;

    checksum_begin(&c);
    checksum_feed(&c, p->spec.architecture, sizeof p->spec.architecture);
    for (uint64_t i = 0; i < p->ops.count; i++) checksum_feed(&c, &plan_ops(p)[i], 2 * sizeof(uint32_t));
    sum = checksum_end(&c);
    for (uint32_t i = 0; i < seen_count; i++)
        if (seen[i] == sum) return true;
    if (seen_count < sizeof seen / sizeof *seen) seen[seen_count++] = sum;
    return false;
}

static void one_model(const char *name, uint32_t number)
{
    struct golden g = golden_load(name);
    char *folder = reference_make(name);
    struct model *m;
    struct error e = {0};
    float *one;

    snprintf(g.source, sizeof g.source, "%.60s", name);
    if (g.n > 12) g.n = 12;
    if (model_open(&m, folder, NULL, &e)) fail_msg("%s: %s", name, e.text);
    if (!is_known(model_program(m))) {
        one = logits_of(model_program(m), NULL, 1, &g);
        compare(name, &g, model_program(m), one, 2, number % 2 == 0);
        if (number % 4 == 0) compare(name, &g, model_program(m), one, 3, true);
        free(one);
    }
    model_close(m);
    scratch_remove(folder);
    golden_free(&g);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Every step-th of the reference models, from first on. */
static void models(uint32_t first, uint32_t step)
{
    char *names[1024];
    uint32_t n = 0;
    struct dirent *d;
    DIR *dir = opendir(REFERENCE_MODELS);

    assert_non_null(dir);
    while ((d = readdir(dir)) && n < 1024) {
        char path[512];

        snprintf(path, sizeof path, REFERENCE_MODELS "/%s/golden.json", d->d_name);
        if (*d->d_name != '.' && !access(path, R_OK)) names[n++] = strdup(d->d_name);
    }
    closedir(dir);
    qsort(names, n, sizeof *names, by_name);
    assert_true(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        if (i % step == first) one_model(names[i], i / step);
        free(names[i]);
    }
}

/* What a share's own operations may not be. */
static void test_refused(void **state)
{
    struct golden g = golden_load("llama");
    char *folder = reference_make("llama");
    uint32_t owner[64];
    struct plan_shm *p;
    struct plan_op *o;
    struct model *m;
    struct error e = {0};
    uint64_t sends = 0;

    (void)state;
    if (model_open(&m, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_true(deal(owner, model_program(m), 2, true));
    assert_int_equal(share_make(&p, model_program(m), owner, 2, &e), -EINVAL);
    assert_int_equal(share_make(&p, model_program(m), owner, 1, &e), 0);
    o = (struct plan_op *)(void *)((char *)p + p->ops.offset);
    for (uint64_t i = 0; i < p->ops.count; i++) sends += o[i].kind == OP_SEND;
    assert_true(sends > 0);
    assert_int_equal(o->kind, OP_RECEIVE);
    o->hop.total++;
    assert_int_equal(program_check(p, p->bytes, &e), -EPROTO);
    o->hop.total--;
    o->hop.x.col = 1;
    assert_int_equal(program_check(p, p->bytes, &e), -EPROTO);
    o->hop.x.col = 0;
    p->spec.share = 0;
    assert_int_equal(program_check(p, p->bytes, &e), -EPROTO);
    p->spec.share = 1;
    assert_int_equal(program_check(p, p->bytes, &e), 0);
    free(p);
    model_close(m);
    scratch_remove(folder);
    golden_free(&g);
}

static void test_models_1(void **state)
{
    (void)state;
    models(0, 3);
}

static void test_models_2(void **state)
{
    (void)state;
    models(1, 3);
}

static void test_models_3(void **state)
{
    (void)state;
    models(2, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_models_1),
        cmocka_unit_test(test_models_2),
        cmocka_unit_test(test_models_3),
    };

    return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
