/* Signals to random processes at random moments, the coordinator too: every run ends with the same text or a clear error
 * within five seconds of the last one, and nothing is left.
 *
 *   test_kill [RUNS [SEED [FIRST]]]      FIRST: number of the first run, to see one again that failed
 *
 * Without arguments a short form. A run's blows depend on the seed and its number alone; their moments are parts of the
 * time that an undisturbed run takes. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support_process.h"
#include "tests/support_victims.h"

#define DEMO        "tests/data/demo-model"
#define STORY       "run", DEMO, "-p", "Once upon a time", "-n", "300", "--ignore-eos"
#define BLOWS_MAX   4
#define COORDINATOR VICTIM_STAGES /* beside the numbers of the stages */
#ifdef __SANITIZE_ADDRESS__
#define LIMIT_SECONDS 20
#else
#define LIMIT_SECONDS 5
#endif

static unsigned runs = 16, first;
static uint64_t seed = 1;

static const char *const greedy[] = {STORY, "--temperature", "0", NULL};
static const char *const sampled[] = {STORY, "--temperature", "1", "--seed", "11", NULL};
static const char *const chat[] = {STORY, "--chat", "--temperature", "0", NULL};
static const char *const small[] = {STORY, "--temperature", "0", "--slot-mib", "0.0625", "--reader-depth",
                                    "2",   "--chunk",       "2", NULL};
static const char *const *const ways[] = {greedy, sampled, chat, small};
#define WAYS (sizeof ways / sizeof *ways)

static char *want[WAYS];
static uint64_t whole_ns[WAYS]; /* how long an undisturbed run takes */

/* ---- blows ---- */

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = *x += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t below(uint64_t *x, uint64_t n)
{
    return splitmix64(x) % n;
}

struct blow {
    uint64_t at_ns; /* after the start */
    int target, signal;
    pid_t pid; /* whom it has hit; 0: nobody was there */
};

struct round {
    size_t way;
    int blows;
    struct blow blow[2 * BLOWS_MAX];
};

static int earlier(const void *a, const void *b)
{
    const struct blow *x = a, *y = b;

    return (x->at_ns > y->at_ns) - (x->at_ns < y->at_ns);
}

/* One to four blows from the start to a little after the end of what an undisturbed run takes. What is stopped is woken
 * up soon, or too late to be taken for alive; a stage sometimes never. */
static void draw(struct round *r, unsigned number)
{
    static const int signals[] = {SIGKILL, SIGKILL, SIGTERM, SIGSTOP};
    uint64_t x = seed * UINT64_C(1000003) + number;
    int n = 1 + (int)below(&x, BLOWS_MAX);

    *r = (struct round){.way = below(&x, WAYS)};
    for (int i = 0; i < n; i++) {
        struct blow b = {.at_ns = whole_ns[r->way] * below(&x, 1100) / 1000, .target = (int)below(&x, 10)};

        /* the coordinator's death ends the run, so it is drawn less often */
        b.target = b.target == 9 ? COORDINATOR : b.target % VICTIM_STAGES;
        b.signal = signals[below(&x, 4)];
        r->blow[r->blows++] = b;
        if (b.signal != SIGSTOP || (b.target != COORDINATOR && !below(&x, 4))) continue;
        b.at_ns += below(&x, 4) ? below(&x, 300000000) : 2500000000;
        b.signal = SIGCONT;
        r->blow[r->blows++] = b;
    }
    qsort(r->blow, (size_t)r->blows, sizeof *r->blow, earlier);
}

static void strike(struct round *r, pid_t coordinator)
{
    uint64_t start = now_ns();

    for (int i = 0; i < r->blows; i++) {
        struct blow *b = &r->blow[i];
        int64_t left = (int64_t)(start + b->at_ns) - (int64_t)now_ns();

        while (left > 0 && !victim_gone(coordinator)) {
            nap_ms(left < 20000000 ? (int)(left / 1000000) + 1 : 20);
            left = (int64_t)(start + b->at_ns) - (int64_t)now_ns();
        }
        b->pid = b->target == COORDINATOR ? coordinator : victim_find(coordinator, b->target);
        /* the process that was stopped, even if another one is in its place by now */
        for (int k = 0; b->signal == SIGCONT && k < i; k++)
            if (r->blow[k].signal == SIGSTOP && r->blow[k].target == b->target) b->pid = r->blow[k].pid;
        if (b->pid > 0) kill(b->pid, b->signal);
    }
}

/* ---- verdicts ---- */

static bool was_hit(const struct round *r, int target, int signal)
{
    for (int i = 0; i < r->blows; i++)
        if (r->blow[i].target == target && r->blow[i].signal == signal && r->blow[i].pid > 0) return true;
    return false;
}

static int stages_hit(const struct round *r)
{
    int n = 0;

    for (int i = 0; i < r->blows; i++)
        n += r->blow[i].target != COORDINATOR && r->blow[i].signal != SIGCONT && r->blow[i].pid > 0;
    return n;
}

/* NULL: as it should be. */
static const char *verdict(const struct round *r, const struct process_result *x)
{
    const char *text = want[r->way];

    if (x->status == 0) return strcmp(x->out, text) ? "another text" : NULL;
    if (strncmp(x->out, text, x->out_bytes)) return "what was printed is not the beginning of the text";
    if (x->status == 128 + SIGKILL && was_hit(r, COORDINATOR, SIGKILL)) return NULL;
    if ((x->status == 130 || (x->status == 128 + SIGTERM && !x->out_bytes)) && was_hit(r, COORDINATOR, SIGTERM))
        return NULL;
    if (x->status == 1 && stages_hit(r) >= 3 && strstr(x->err, "gave up after 3 failures in a row")) return NULL;
    return "neither the text nor a clear error";
}

static void describe(const struct round *r, unsigned number)
{
    print_message("run %u of seed %llu, way %zu:", number, (unsigned long long)seed, r->way);
    for (int i = 0; i < r->blows; i++)
        print_message(" %.0f ms %s %s (%d);", (double)r->blow[i].at_ns / 1e6,
                      r->blow[i].target == COORDINATOR ? "coordinator" : victim_stage[r->blow[i].target],
                      strsignal(r->blow[i].signal), r->blow[i].pid);
    print_message("\n");
}

static bool run_once(unsigned number, unsigned count[4])
{
    struct round r;
    struct process p;
    struct process_result x;
    char left[256];
    const char *wrong;
    uint64_t last, took;

    draw(&r, number);
    p = process_start("sluice", ways[r.way]);
    strike(&r, p.pid);
    last = now_ns();
    x = process_finish(&p, NULL, 0, LIMIT_SECONDS);
    took = now_ns() - last;
    wrong = took >= LIMIT_SECONDS * UINT64_C(1000000000) ? "hangs" : verdict(&r, &x);
    if (victim_leftovers(p.pid, NULL, 0, 1000, left, sizeof left)) wrong = left;
    count[x.status == 0 ? 0 : x.status == 1 ? 1 : 2]++;
    count[3] += (unsigned)stages_hit(&r);
    if (wrong) {
        describe(&r, number);
        print_message("  %s: status %d, %.2f s after the last signal, %zu of %zu bytes\n%s\n", wrong, x.status,
                      (double)took / 1e9, x.out_bytes, strlen(want[r.way]), x.err);
    }
    process_result_free(&x);
    return !wrong;
}

static void signals_at_random_moments(void **state)
{
    unsigned wrong = 0, count[4] = {0};

    (void)state;
    print_message("%u runs on seed %llu\n", runs, (unsigned long long)seed);
    for (unsigned i = 0; i < runs; i++) wrong += !run_once(first + i, count);
    print_message(
        "%u ended with the text, %u with an error, %u were ended themselves; %u blows hit a stage; %u wrong\n",
        count[0], count[1], count[2], count[3], wrong);
    assert_int_equal(wrong, 0);
    assert_true(count[3] > 0);
}

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3 * WAYS; i++) {
        uint64_t start = now_ns(), took, *whole = &whole_ns[i % WAYS];
        struct process_result r = process_run("sluice", ways[i % WAYS], NULL, 0, 60);

        if (r.status) fail_msg("undisturbed: %s", r.err);
        took = now_ns() - start;
        if (!*whole || took < *whole) *whole = took;
        free(want[i % WAYS]);
        want[i % WAYS] = r.out;
        free(r.err);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < WAYS; i++) free(want[i]);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(signals_at_random_moments)};

    if (argc > 1) runs = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2) seed = strtoull(argv[2], NULL, 10);
    if (argc > 3) first = (unsigned)strtoul(argv[3], NULL, 10);
    return cmocka_run_group_tests(tests, setup, teardown);
}
