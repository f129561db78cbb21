/* Endurance: thousands of sweeps in one life of the pipeline. Memory, descriptors, threads and names in /dev/shm stay as
 * they are; a regression line says by how much they do not.
 *
 *   test_soak [SWEEPS]     without it a short form (make soak: 10000)
 *
 * Once with everything pinned, and once in so little memory that every sweep reads from the disk. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/cli/options.h"
#include "tests/support_instance.h"
#include "tests/support_usage.h"
#include "tests/support_victims.h"

#define DEMO      "tests/data/demo-model"
#define PROCESSES (1 + VICTIM_STAGES) /* the coordinator, which this program is here, and its stages */
/* What a process may grow by, over all sweeps: what an allocator leaves lying. The address sanitizer keeps what was freed. */
#ifdef __SANITIZE_ADDRESS__
#define ROOM_KIB 1e9
#else
#define ROOM_KIB 256.0
#endif
#define SAMPLES 200

static unsigned sweeps = 400;

struct sample {
    double sweep, kib[PROCESSES], fds[PROCESSES], threads[PROCESSES], names;
};

static double count_names(const char *folder, const char *part)
{
    DIR *d = opendir(folder);
    double n = 0;

    assert_non_null(d);
    for (struct dirent *x; (x = readdir(d));) n += x->d_name[0] != '.' && strstr(x->d_name, part) != NULL;
    closedir(d);
    return n;
}

static void look(struct sample *s, const pid_t *pid, unsigned sweep)
{
    s->sweep = sweep;
    s->names = count_names("/dev/shm", "sluice");
    for (int i = 0; i < PROCESSES; i++) {
        s->kib[i] = usage_kib(pid[i]);
        s->fds[i] = usage_descriptors(pid[i]);
        s->threads[i] = usage_threads(pid[i]);
    }
}

/* Least squares: how much y grows in a thousand sweeps. y lies at the same offset in each sample. */
static double slope(const struct sample *s, int n, size_t offset)
{
    double mx = 0, my = 0, xy = 0, xx = 0;

#define Y(i) (*(const double *)(const void *)((const char *)&s[i] + offset))
    for (int i = 0; i < n; i++) mx += s[i].sweep / n, my += Y(i) / n;
    for (int i = 0; i < n; i++) xy += (s[i].sweep - mx) * (Y(i) - my), xx += (s[i].sweep - mx) * (s[i].sweep - mx);
#undef Y
    return xx > 0 ? 1000 * xy / xx : 0;
}

static void judge(const struct sample *s, int n)
{
    const struct sample *first = &s[0], *last = &s[n - 1];

    for (int i = 0; i < PROCESSES; i++) {
        print_message("%-11s %6.0f KiB, %+.2f KiB in 1000 sweeps; %.0f descriptors, %+.3f; %.0f threads\n",
                      i ? victim_stage[i - 1] : "coordinator", last->kib[i],
                      slope(s, n, offsetof(struct sample, kib) + (size_t)i * sizeof(double)), last->fds[i],
                      slope(s, n, offsetof(struct sample, fds) + (size_t)i * sizeof(double)), last->threads[i]);
        assert_true(last->fds[i] == first->fds[i]);
        assert_true(last->threads[i] == first->threads[i]);
        if (last->kib[i] - first->kib[i] > ROOM_KIB)
            fail_msg("grew by %.0f KiB in %.0f sweeps", last->kib[i] - first->kib[i], last->sweep - first->sweep);
    }
    print_message("names in /dev/shm: %.0f, %+.3f\n", last->names, slope(s, n, offsetof(struct sample, names)));
    assert_true(last->names == first->names);
}

/* One sequence: stories of as many tokens as the context holds, each of another seed. */
struct endurance {
    struct sequence *sequence;
    pid_t pid[PROCESSES];
    unsigned warm, step, done;
    struct sample sample[SAMPLES];
    int samples;
};

static int on_token(void *arg, uint32_t token, struct error *e)
{
    struct endurance *x = arg;
    unsigned i = x->done++;

    (void)token;
    (void)e;
    for (int k = 0; !i && k < VICTIM_STAGES; k++) assert_true(x->pid[1 + k] = victim_find(getpid(), k));
    if (i >= x->warm && (i - x->warm) % x->step == 0 && x->samples < SAMPLES) look(&x->sample[x->samples++], x->pid, i);
    return 0;
}

static void endure(struct instance *in)
{
    static const uint32_t prompt[] = {5, 17, 40};
    struct endurance x = {.pid = {getpid()}};
    struct generate_config c = {.sampling = instance_sampling(in), .token = on_token, .arg = &x};
    unsigned context = instance_context(in);
    struct generate_result r;
    struct error e;

    x.warm = sweeps / 5 > context ? sweeps / 5 : context; /* every row of the KV cache was touched */
    x.step = (sweeps - x.warm) / SAMPLES + 1;
    if (scheduler_sequence(instance_scheduler(in), &x.sequence, context, &e) ||
        sequence_append(x.sequence, prompt, 3, &e))
        fail_msg("%s", e.text);
    while (x.done < sweeps) {
        c.max_tokens = sweeps - x.done;
        if (sequence_truncate(x.sequence, 3, &e) || generate(in, x.sequence, &c, &r, &e))
            fail_msg("sweep %u: %s", x.done, e.text);
        c.sampling.seed++;
    }
    for (int k = 0; k < VICTIM_STAGES; k++)
        assert_int_equal(x.pid[1 + k], victim_find(getpid(), k)); /* none was started again */
    sequence_close(x.sequence);
    judge(x.sample, x.samples);
}

static void parse(struct options *o, const char *memory)
{
    char *argv[] = {(char *)"sluice",
                    (char *)"run",
                    (char *)DEMO,
                    (char *)"--ignore-eos",
                    (char *)"--temperature",
                    (char *)"1",
                    (char *)"--seed",
                    (char *)"1",
                    (char *)"--context",
                    (char *)(sweeps < 5000 ? "128" : "1024"),
                    (char *)"--host-memory",
                    (char *)memory,
                    NULL};
    struct error e;

    if (options_parse(o, sizeof argv / sizeof *argv - 1, argv, &e)) fail_msg("%s", e.text);
}

static void everything_pinned(void **state)
{
    struct options o;
    struct instance *in = NULL;
    struct error e;

    (void)state;
    print_message("%u sweeps, all weights in memory\n", sweeps);
    parse(&o, "auto");
    if (support_start(&in, &o, &(struct instance_load){0}, &e)) fail_msg("%s", e.text);
    endure(in);
    instance_close(in);
    options_free(&o);
}

static void everything_from_disk(void **state)
{
    char memory[16];
    struct engine_stats before, after;
    struct options o;
    struct instance *in = NULL;
    struct error e;
    int rc = -1;

    (void)state;
    for (int mb = 40; rc && mb < 400; mb += 2) { /* the smallest that will do */
        snprintf(memory, sizeof memory, "%dM", mb);
        parse(&o, memory);
        if ((rc = support_start(&in, &o, &(struct instance_load){0}, &e))) options_free(&o);
    }
    if (rc) fail_msg("%s", e.text);
    print_message("%u sweeps in %s\n", sweeps, memory);
    instance_stats(in, &before);
    endure(in);
    instance_stats(in, &after);
    print_message("%.1f MB read\n", (double)(after.stage[STAGE_READER].bytes - before.stage[STAGE_READER].bytes) / 1e6);
    assert_true(after.stage[STAGE_READER].bytes >
                sweeps * UINT64_C(100000)); /* of each sweep, more than rows of the embedding */
    instance_close(in);
    options_free(&o);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_pinned), cmocka_unit_test(everything_from_disk)};

    if (argc > 1) sweeps = (unsigned)strtoul(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
