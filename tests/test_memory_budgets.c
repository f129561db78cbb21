/* --host-memory holds: each run lives in a memory cgroup that allows exactly its budget, page cache, shared memory and the
 * kernel's own share included, with no swap. What does not fit is killed there, and that is a failure. Refusals name the
 * smallest budget that would do, and that one must do.
 *
 *   build/tests/test_memory_budgets          a selection, in seconds
 *   build/tests/test_memory_budgets full     all families, contexts, chunks (make test-budgets); prints every run */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "proto/epoch.h"
#include "tests/support_cgroup.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_victims.h"

#define SECONDS  120
#define ARGS_MAX 40

static bool full;

struct setting {
    const char *name;
    int tokens;
    const char *flag[8];
};

static const struct setting settings[] = {
    {"defaults", 30, {NULL}},
    {"a position a sweep", 30, {"--chunk", "1"}},
    {"context filled, bf16", 60, {"--context", "60", "--chunk", "60", "--kv-type", "bf16"}},
    {"eight threads, small slots", 30, {"--threads", "8", "--slot-mib", "0.5", "--reader-depth", "3"}},
    {"large ring, direct", 30, {"--reader-depth", "64", "--io", "direct", "--io-engine", "threads"}},
};
#define SETTINGS (sizeof settings / sizeof *settings)

static void arguments(const char **arg, const char *folder, const struct setting *s, const char *tokens,
                      const char *last, const char *budget)
{
    int n = 0;

    arg[n++] = "logits";
    arg[n++] = folder;
    arg[n++] = "--tokens";
    arg[n++] = tokens;
    arg[n++] = "--positions";
    arg[n++] = last;
    arg[n++] = "--out";
    arg[n++] = "/dev/null";
    for (int i = 0; i < 8 && s->flag[i]; i++) arg[n++] = s->flag[i];
    arg[n++] = "--host-memory";
    arg[n++] = budget;
    arg[n] = NULL;
}

/* The number of a refusal, in bytes: what these arguments are answered with when they allow 1 MB. */
static uint64_t named_by(const char *what, const char *const *arg)
{
    static const char says[] = "the smallest that would do is ";
    struct process_result r = process_run("sluice", arg, NULL, 0, SECONDS);
    const char *at = strstr(r.err, says);
    uint64_t n;

    if (r.status != 1 || !at) fail_msg("%s: a refusal was expected: exit %d: %s", what, r.status, r.err);
    n = strtoull(at + sizeof says - 1, NULL, 10) * 1000000;
    process_result_free(&r);
    return n;
}

static uint64_t smallest(const char *folder, const struct setting *s, const char *tokens, const char *last)
{
    const char *arg[ARGS_MAX];

    arguments(arg, folder, s, tokens, last, "1M");
    return named_by(s->name, arg);
}

/* Runs them in a group that allows so much. */
static void hold(const char *what, const char *const *arg, uint64_t budget, bool print)
{
    struct cgroup_peak peak;
    struct process_result r = cgroup_run("sluice", arg, budget, SECONDS, &peak);

    if (r.status || peak.oom_kills || strstr(r.err, "starting the stages again"))
        fail_msg("%s: budget %llu: exit %d, %llu killed for memory: %s", what, (unsigned long long)budget, r.status,
                 (unsigned long long)peak.oom_kills, r.err);
    if (peak.held > budget)
        fail_msg("%s: held %llu of %llu", what, (unsigned long long)peak.held, (unsigned long long)budget);
    if (print)
        printf("%-53s budget %7.1f MB  held %7.1f MB  group's peak %7.1f MB\n", what, (double)budget / 1e6,
               (double)peak.held / 1e6, (double)peak.total / 1e6);
    process_result_free(&r);
}

static void run_with(const char *model, const char *folder, const struct setting *s, const char *tokens,
                     const char *last, uint64_t budget)
{
    const char *arg[ARGS_MAX];
    char text[32], what[96];

    snprintf(text, sizeof text, "%llu", (unsigned long long)budget);
    snprintf(what, sizeof what, "%s, %s", model, s->name);
    arguments(arg, folder, s, tokens, last, text);
    hold(what, arg, budget, full);
}

static void budgets_of(const char *model, const struct setting *s)
{
    static const double share[] = {1, 1.15, 2};
    char tokens[512] = "", last[16];
    char *folder = reference_make(model);
    uint64_t least;

    for (int i = 0; i < s->tokens; i++)
        snprintf(tokens + strlen(tokens), sizeof tokens - strlen(tokens), "%d ", i % 50 + 1);
    snprintf(last, sizeof last, "%d", s->tokens - 1);
    least = smallest(folder, s, tokens, last);
    for (size_t i = 0; i < sizeof share / sizeof *share; i++)
        if (full || !i) run_with(model, folder, s, tokens, last, (uint64_t)((double)least * share[i]));
    scratch_remove(folder);
}

static void budgets_hold(void **state)
{
    static const char *const some[] = {"llama", "mixtral", "gpt-oss-mxfp4", "deepseek-v3-fp8", "qwen3-next"};
    const char *why = cgroup_refused();
    DIR *d = opendir(REFERENCE_MODELS);
    struct dirent *x;

    (void)state;
    assert_non_null(d);
    if (why) {
        printf("skipped: %s\n", why);
        closedir(d);
        skip();
    }
    while (full && (x = readdir(d)))
        if (*x->d_name != '.' && strcmp(x->d_name, "README.md"))
            for (size_t i = 0; i < SETTINGS; i++) budgets_of(x->d_name, &settings[i]);
    for (size_t i = 0; i < sizeof some / sizeof *some && !full; i++) budgets_of(some[i], &settings[i % SETTINGS]);
    closedir(d);
}

/* Measuring takes memory beside the run's own: what a profile takes, and what a machine that is met for the first time is
 * tried with. */
static void profiles_hold(void **state)
{
    static const char *const what[] = {"reader", "transfer", "compute", "pipeline"};
    static const char *const some[] = {"llama", "mixtral"};
    const char *why = cgroup_refused();
    char text[32];

    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skipped: the sanitizer's own memory is in no budget\n");
    skip();
#endif
    if (why) {
        printf("skipped: %s\n", why);
        skip();
    }
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        char *folder = reference_make(some[i]), *home = scratch_make();
        const char *cache = getenv("XDG_CACHE_HOME");
        char *usual = cache ? strdup(cache) : NULL;
        const char *plan[] = {"plan", folder, "--threads", "16", "--host-memory", text, NULL};

        for (int k = 0; k < 4; k++) {
            const char *arg[] = {"profile", what[k], folder, "--seconds", "0.1", "--host-memory", text, NULL};
            uint64_t budget;

            strcpy(text, "1M");
            budget = named_by(what[k], arg);
            for (int more = 0; more < 2; more++, budget += 60000000) {
                snprintf(text, sizeof text, "%llu", (unsigned long long)budget);
                hold(what[k], arg, budget, full);
            }
        }
        setenv("XDG_CACHE_HOME", home, 1);
        strcpy(text, "100M");
        hold("plan on a new machine", plan, 100000000, full);
        if (usual)
            setenv("XDG_CACHE_HOME", usual, 1);
        else
            unsetenv("XDG_CACHE_HOME");
        free(usual);
        scratch_remove(folder);
        scratch_remove(home);
    }
}

/* Where no group can be made, that much can still be seen. */
static void the_smallest_works_and_less_is_refused(void **state)
{
    const struct setting *s = &settings[0];
    char *folder = reference_make("llama");
    const char *arg[ARGS_MAX];
    uint64_t least = smallest(folder, s, "1 2 3", "2");
    char budget[32];

    (void)state;
    for (int less = 0; less < 2; less++) {
        struct process_result r;

        snprintf(budget, sizeof budget, "%llu", (unsigned long long)(less ? least - 8000000 : least));
        arguments(arg, folder, s, "1 2 3", "2", budget);
        r = process_run("sluice", arg, NULL, 0, SECONDS);
        if (r.status != less) fail_msg("--host-memory %s: exit %d: %s", budget, r.status, r.err);
        process_result_free(&r);
    }
    scratch_remove(folder);
}

/* Memory of the run's stages, in kB, while it works. */
struct locked {
    long reader, compute; /* may not be moved to swap */
    long compute_there;   /* of that: what was touched, and so takes memory */
};

/* The sum of a field over lines as "Locked:   12 kB"; 0 where there is none. */
static long field(pid_t pid, const char *file, const char *name)
{
    char path[64], line[256];
    long sum = 0, kb;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name)) && sscanf(line + strlen(name), ": %ld kB", &kb) == 1) sum += kb;
    if (f) fclose(f);
    return sum;
}

static void look(struct locked *x, pid_t coordinator)
{
    pid_t reader = victim_find(coordinator, STAGE_READER), compute = victim_find(coordinator, STAGE_COMPUTE);

    if (reader) x->reader = field(reader, "status", "VmLck");
    if (!compute) return;
    x->compute = field(compute, "status", "VmLck");
    x->compute_there = field(compute, "smaps", "Locked");
}

/* Slots and the KV cache; of the cache what is not used yet takes no memory for it. */
static void slots_and_kv_cache_are_locked(void **state)
{
    struct rlimit l;
    struct process_result r;
    struct process p;
    struct locked x = {0};

    (void)state;
    if (getrlimit(RLIMIT_MEMLOCK, &l) || (l.rlim_cur < (64u << 20) && geteuid())) {
        printf("skipped: locked memory is limited to %llu bytes here\n", (unsigned long long)l.rlim_cur);
        skip();
    }
    /* the chat waits for a question, its stages being there */
    p = process_start("sluice", (const char *const[]){"chat", "tests/data/demo-model", "--kv-type", "f32", NULL});
    assert_int_equal(write(p.in, "Hello\n", 6), 6);
    for (int i = 0; i < 500 && (x.reader <= 0 || x.compute <= 0); i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        look(&x, p.pid);
    }
    r = process_finish(&p, NULL, 0, SECONDS);
    if (x.reader <= 0 || x.compute <= 0)
        fail_msg("locked: %ld kB of slots, %ld kB of cache: %s", x.reader, x.compute, r.err);
    if (x.compute_there >= x.compute) fail_msg("all %ld kB of the cache are there from the start", x.compute);
    process_result_free(&r);
}

/* Where the limit does not allow it the run goes on, and each stage says so once, for those who ask or have swap. */
static void what_cannot_be_locked_is_told(void **state)
{
    static const char *const says[] = {"MB of slots and cached weights cannot be locked",
                                       "MB of the KV cache cannot be locked"};
    struct process_result r;
    char sluice[4096];

    (void)state;
    snprintf(sluice, sizeof sluice, "%s/sluice", process_build());
    if (!geteuid() && access("/usr/bin/setpriv", X_OK)) {
        printf("skipped: this user may lock what it likes, and there is no setpriv to give that up\n");
        skip();
    }
    r = process_run(
        "/bin/sh",
        (const char *const[]){"-c", "ulimit -l 64 && exec $1 \"$2\" run tests/data/demo-model -v -p Once -n 3", "sh",
                              geteuid() ? "" : "setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock", sluice, NULL},
        NULL, 0, SECONDS);
    if (r.status) fail_msg("exit %d: %s", r.status, r.err);
    for (int i = 0; i < 2; i++) {
        const char *at = strstr(r.err, says[i]);

        if (!at || strstr(at + 1, says[i])) fail_msg("not told once: %s: %s", says[i], r.err);
    }
    process_result_free(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budgets_hold),
        cmocka_unit_test(profiles_hold),
        cmocka_unit_test(the_smallest_works_and_less_is_refused),
        cmocka_unit_test(slots_and_kv_cache_are_locked),
        cmocka_unit_test(what_cannot_be_locked_is_told),
    };

    full = argc > 1 && !strcmp(argv[1], "full");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
