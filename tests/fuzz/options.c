/* The command line: arguments with NULs between them. */
#include "coordinator/cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cli/values.h"
#include "tests/fuzz/fuzz.h"

#define ARGS 64

static void run(const uint8_t *data, size_t bytes)
{
    char *text = malloc(bytes + 1), *argv[ARGS + 2] = {(char *)"sluice"};
    struct options o;
    struct error e = {0};
    int argc = 1, rc;

    if (!text) return;
    if (bytes) memcpy(text, data, bytes);
    text[bytes] = 0;
    for (size_t at = 0; at < bytes && argc <= ARGS; at += strlen(text + at) + 1) argv[argc++] = text + at;
    rc = options_parse(&o, argc, argv, &e);
    if (rc && strlen(e.text) < 10) fuzz_fail("an error without a message");
    if (!rc && (unsigned)o.command >= COMMANDS) fuzz_fail("a command that is none");
    options_free(&o);
    free(text);
}

static void join(fuzz_emit *emit, void *arg, const char *spaced)
{
    char text[512];
    size_t n = strlen(spaced);

    memcpy(text, spaced, n);
    for (size_t i = 0; i < n; i++)
        if (text[i] == ' ') text[i] = 0;
    emit(arg, text, n);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const lines[] = {
        "run m -p hello -n 20 --temperature 0.7 --top-k=40 --seed 5 --stop x --stop y",
        "chat m --system s --think hide --context 4096",
        "m",
        "logits m --tokens 1,2,3 --positions 0 --out o",
        "plan m --host-memory 4GiB --device-memory 1.5G --backend cpu --json -vv",
        "template m -f x --var a=b --date 2025-07-10T12:00:00",
        "--help",
        "help run",
        "completion bash",
        "tokenize m --no-special",
        "--man-page",
    };
    char line[256];

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) join(emit, arg, lines[i]);
    for (size_t i = 0; i < option_flag_count; i++) {
        const struct option_flag *f = &option_flags[i];

        for (int c = 1; c < COMMANDS; c++) {
            if (!option_applies(f, (enum option_command)c)) continue;
            snprintf(line, sizeof line, "%s m --%s %s", option_commands[c].name, f->name,
                     f->kind == KIND_CHOICE ? "auto" : "1");
            join(emit, arg, line);
            break;
        }
    }
}

const struct fuzz_target fuzz_options = {"options", run, seeds, -1};
