/* A trace file, read and drawn. Seeds are what trace.c writes. */
#include "coordinator/view/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/view/timeline.h"
#include "coordinator/view/timeline_svg.h"
#include "proto/base/clock.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

#define SVG_MOST (4u << 20) /* bytes of a drawing: bins, marks and sweeps are bounded, whatever the trace says */

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"trace.json", NULL};
    static struct fuzz_folder folder;
    static char path[TEMPORARY_BYTES + 32];
    struct timeline *t = NULL;
    struct error e = {0};
    char *svg = NULL, verdict[320];
    size_t n = 0;
    FILE *f;

    if (!folder.files) {
        fuzz_folder_make(&folder, names);
        snprintf(path, sizeof path, "%s/%s", folder.path, names[0]);
    }
    fuzz_folder_fill(&folder, 0, data, bytes, 0);
    if (timeline_make(&t, path, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
        return;
    }
    f = open_memstream(&svg, &n);
    if (f) {
        timeline_svg(f, t, "a <trace> & more");
        fclose(f);
    }
    timeline_verdict(t, verdict, sizeof verdict);
    if (n > SVG_MOST) fuzz_fail("a drawing without bounds");
    free(svg);
    free(t);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const struct trace_record r[] = {
        {.sweep = 0, .bytes = 4096, .fill_ns = 1000, .ready_ns = 3000, .take_ns = 4000, .free_ns = 9000, .tile = 1},
        {.sweep = 0,
         .bytes = 4096,
         .fill_ns = 2000,
         .ready_ns = 3500,
         .take_ns = 5000,
         .free_ns = 9500,
         .tile = UINT32_MAX,
         .rows = 3,
         .lane = 1},
        {.sweep = 1,
         .bytes = 8192,
         .fill_ns = 4000,
         .ready_ns = 5000,
         .take_ns = 6000,
         .free_ns = 10000,
         .tile = 2,
         .ring = 1},
    };
    char folder[TEMPORARY_BYTES], path[TEMPORARY_BYTES + 16];
    struct trace_record now[3];
    struct trace_writer *t;
    struct error e;
    uint64_t start;
    size_t bytes;
    char *text;

    if (!temporary_make(folder, NULL)) fuzz_fail("cannot make a temporary folder");
    snprintf(path, sizeof path, "%s/trace.json", folder);
    if (trace_open(&t, path, NULL, &e)) fuzz_fail("no trace can be written for a seed");
    memcpy(now, r, sizeof r);
    start = clock_ns(); /* after the opening */
    for (int i = 0; i < 3; i++) {
        now[i].fill_ns += start;
        now[i].ready_ns += start;
        now[i].take_ns += start;
        now[i].free_ns += start;
    }
    trace_write(t, now, 3);
    trace_sweep(t, start, start + 20000, 4);
    if (trace_close(t, &e)) fuzz_fail(e.text);
    text = fuzz_read(path, &bytes);
    emit(arg, text, bytes);
    emit(arg, text, bytes / 2);
    free(text);
    temporary_remove(folder);
    emit(arg, "[\n", 2);
    text =
        (char *)"[\n{\"name\":\"read\",\"ph\":\"X\",\"pid\":2,\"tid\":0,\"ts\":1.5,\"dur\":2.25,\"args\":{\"bytes\":"
                "4096}},\n"
                "{\"name\":\"copy\",\"ph\":\"X\",\"pid\":3,\"tid\":1,\"ts\":2,\"dur\":4,\"args\":{\"bytes\":4096}},\n"
                "{\"name\":\"compute\",\"ph\":\"X\",\"pid\":4,\"tid\":1000000,\"ts\":3,\"dur\":900},\n"
                "{\"name\":\"sweep\",\"ph\":\"X\",\"pid\":1,\"tid\":0,\"ts\":0,\"dur\":1000,\"args\":{\"positions\":3}}"
                "\n]\n";
    emit(arg, text, strlen(text));
}

const struct fuzz_target fuzz_trace = {"trace", run, seeds, -1};
