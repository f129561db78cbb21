#include "tests/gpu/emulated/support_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support_model.h"

struct process_result device_logits(const struct device_run *r, const char *out)
{
    static char last[16];
    const char *arg[16 + DEVICE_FLAGS] = {"logits",        r->model, "--backend", "cuda", "--tokens",        r->tokens,
                                          "--positions",   last,     "--out",     out,    "--device-memory", r->device,
                                          "--host-memory", r->host};
    int n = 0;

    for (const char *c = r->tokens; *c; c++) n += *c == ' ';
    snprintf(last, sizeof last, "%d", n);
    for (int i = 0; i < DEVICE_FLAGS && r->flag[i]; i++) arg[14 + i] = r->flag[i];
    return process_run("sluice", arg, NULL, 0, r->seconds ? r->seconds : 60);
}

float *device_logits_or_null(const struct device_run *r, size_t *bytes)
{
    char *folder = scratch_make();
    const char *path = scratch_path(folder, "logits");
    struct process_result p = device_logits(r, path);
    float *got = NULL;
    FILE *f;
    long n;

    *bytes = 0;
    f = p.status ? NULL : fopen(scratch_path(folder, "logits"), "rb");
    if (!f) print_message("exit %d: %s", p.status, p.err);
    if (f && !fseek(f, 0, SEEK_END) && (n = ftell(f)) > 0) {
        got = malloc((size_t)n);
        rewind(f);
        *bytes = fread(got, 1, (size_t)n, f);
    }
    if (f) fclose(f);
    process_result_free(&p);
    scratch_remove(folder);
    return got;
}

/* The number that a refusal names. */
static void named(char text[32], const struct device_run *r)
{
    static const char says[] = "the smallest that would do is ";
    struct process_result p = device_logits(r, "/dev/null");
    const char *at = strstr(p.err, says);

    if (p.status != 1 || !at) fail_msg("a refusal was expected: %s", p.err);
    snprintf(text, 32, "%lluM", strtoull(at + sizeof says - 1, NULL, 10));
    process_result_free(&p);
}

void device_least_of_device(struct device_run *r, const char *host)
{
    char least[32];

    snprintf(r->host, sizeof r->host, "%s", host);
    snprintf(r->device, sizeof r->device, "1M");
    named(least, r);
    memcpy(r->device, least, sizeof least);
}

void device_least(struct device_run *r)
{
    char least[32];

    device_least_of_device(r, "8G");
    snprintf(r->host, sizeof r->host, "1M");
    named(least, r);
    memcpy(r->host, least, sizeof least);
}

void device_seed(int seed)
{
    char text[16];

    snprintf(text, sizeof text, "%d", seed);
    if (seed)
        setenv("EMULATED_ASYNC", text, 1);
    else
        unsetenv("EMULATED_ASYNC");
}
