#include "coordinator/view/timeline_svg.h"

#include <math.h>
#include <string.h>

/* All in pixels. One bin is one pixel. */
#define WIDTH      1500
#define LEFT       150
#define RIGHT      (LEFT + TIMELINE_BINS)
#define SWEEPS_Y   104
#define SWEEPS_H   24
#define READER_Y   140
#define RING_Y     226
#define TRANSFER_Y 312
#define COMPUTE_Y  372
#define LANE_H     50
#define REQUEST_H  16
#define RING_H     70
#define COPY_H     44
#define CHART_Y    466
#define CHART_H    190
#define AXIS_Y     (CHART_Y + CHART_H)
#define HEIGHT     (AXIS_Y + 52)
#define LABEL_PX   64 /* what a sweep's label needs */
#define LINES_MOST 150

/* Told apart by people who see fewer colours too (Okabe and Ito). */
#define DISK      "#0072b2"
#define DISK_2    "#7db9de"
#define LINK      "#d55e00"
#define LINK_2    "#eeb48c"
#define COMPUTE   "#009e73"
#define COMPUTE_2 "#8fd4c0"
#define READY     "#e6b800"
#define IDLE      "#ececec"
#define WAITING   "#f3c6c0"
#define CHECK     "#8f7fc4"
#define DRAFT     "#3b2a7a"

struct canvas {
    FILE *out;
    const struct timeline *t;
};

static double x_of(const struct canvas *c, double at)
{
    double x = (at - c->t->start) / c->t->bin;

    return LEFT + (x < 0 ? 0 : x > TIMELINE_BINS ? TIMELINE_BINS : x);
}

static void text(const struct canvas *c, double x, double y, const char *style, const char *s)
{
    fprintf(c->out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style);
    for (; *s; s++) {
        if (*s == '<')
            fputs("&lt;", c->out);
        else if (*s == '&')
            fputs("&amp;", c->out);
        else if ((unsigned char)*s < ' ')
            fputc('?', c->out);
        else
            fputc(*s, c->out);
    }
    fputs("</text>\n", c->out);
}

static void rect(const struct canvas *c, double x, double y, double w, double h, const char *fill)
{
    fprintf(c->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, w, h, fill);
}

/* ---- numbers as people read them ---- */

static const char *time_text(double seconds, char *out, size_t room)
{
    if (seconds >= 120)
        snprintf(out, room, "%.0f min %.0f s", floor(seconds / 60), fmod(seconds, 60));
    else if (seconds >= 10)
        snprintf(out, room, "%.1f s", seconds);
    else if (seconds >= 1)
        snprintf(out, room, "%.2f s", seconds);
    else if (seconds >= 1e-3)
        snprintf(out, room, "%.3g ms", seconds * 1e3);
    else
        snprintf(out, room, "%.3g us", seconds * 1e6);
    return out;
}

/* The step of an axis: 1, 2 or 5 times a power of ten, at most `most` of them. */
static double step_of(double span, int most)
{
    double step = pow(10, floor(log10(span / most)));

    while (span / step > most) {
        if (span / (2 * step) <= most) return 2 * step;
        if (span / (5 * step) <= most) return 5 * step;
        step *= 10;
    }
    return step;
}

/* ---- shapes over time ---- */

/* An area of height v[i] * unit over the line y, on top of base (NULL: the line). Equal neighbours are one step. */
static void area(const struct canvas *c, const double *v, const double *base, double y, double unit, const char *fill)
{
    double last = -1;

    fprintf(c->out, "<path fill=\"%s\" d=\"M%d %.1f", fill, LEFT, y);
    for (int i = 0; i < TIMELINE_BINS; i++) {
        double at = y - (v[i] + (base ? base[i] : 0)) * unit;

        if (fabs(at - last) < 0.05) continue;
        fprintf(c->out, "H%dV%.1f", LEFT + i, at);
        last = at;
    }
    fprintf(c->out, "H%dV%.1f", RIGHT, y);
    fputs("Z\"/>\n", c->out);
}

static void lane(const struct canvas *c, const double *busy, double y, double h, const char *fill)
{
    rect(c, LEFT, y, TIMELINE_BINS, h, IDLE);
    area(c, busy, NULL, y + h, h, fill);
}

static void lane_name(const struct canvas *c, double y, const char *name, const char *what)
{
    text(c, LEFT - 10, y + 17, "class=\"b\" text-anchor=\"end\"", name);
    text(c, LEFT - 10, y + 34, "class=\"s\" text-anchor=\"end\"", what);
}

static void share_text(const struct canvas *c, double y, double share, const char *what)
{
    char s[48];

    snprintf(s, sizeof s, "%.0f%%", 100 * share);
    text(c, RIGHT + 10, y + 17, "class=\"b\"", s);
    text(c, RIGHT + 10, y + 34, "class=\"s\"", what);
}

/* ---- sweeps ---- */

/* Boundaries go through everything. Of very many, every n-th. */
static void sweeps(const struct canvas *c)
{
    const struct timeline *t = c->t;
    uint64_t n = t->sweeps < TIMELINE_SWEEPS ? t->sweeps : TIMELINE_SWEEPS, every = n / LINES_MOST + 1;
    char label[64], took[32];

    lane_name(c, SWEEPS_Y - 6, "sweeps", "");
    rect(c, LEFT, SWEEPS_Y, TIMELINE_BINS, SWEEPS_H, IDLE);
    for (uint64_t i = 0; i < n; i++) {
        const struct timeline_sweep *s = &t->sweep[i];
        double x = x_of(c, s->from), w = x_of(c, s->to) - x;

        rect(c, x, SWEEPS_Y, w < 0.4 ? 0.4 : w, SWEEPS_H, i % 2 ? "#c9c9d6" : "#dcdce6");
        if (s->guesses) { /* the share of its positions that were guesses, and what seeking them took */
            double h = SWEEPS_H * (double)s->guesses / s->positions / 2;

            rect(c, x, SWEEPS_Y + SWEEPS_H - h, w < 0.4 ? 0.4 : w, h, CHECK);
            rect(c, x_of(c, s->from - s->draft), SWEEPS_Y, x - x_of(c, s->from - s->draft), SWEEPS_H, DRAFT);
        }
        if (i % every == 0) fprintf(c->out, "<path class=\"edge\" d=\"M%.1f %dV%d\"/>\n", x, SWEEPS_Y, AXIS_Y);
        if (w < LABEL_PX) continue;
        time_text(s->to - s->from, took, sizeof took);
        if (s->guesses)
            snprintf(label, sizeof label, w > 2.2 * LABEL_PX ? "%u + %u guesses, %s" : "%u+%u: %s",
                     s->positions - s->guesses, s->guesses, took);
        else if (s->positions > 1)
            snprintf(label, sizeof label, w > 2.2 * LABEL_PX ? "%u positions, %s" : "%u: %s", s->positions, took);
        else
            snprintf(label, sizeof label, "%s", took);
        text(c, x + w / 2, SWEEPS_Y + 17, "class=\"s\" text-anchor=\"middle\"", label);
    }
}

/* ---- stages ---- */

/* Within a sweep compute has work: where it does none, it waits. */
static void waiting(const struct canvas *c)
{
    const struct timeline *t = c->t;
    uint64_t n = t->sweeps < TIMELINE_SWEEPS ? t->sweeps : TIMELINE_SWEEPS;

    rect(c, LEFT, COMPUTE_Y, TIMELINE_BINS, LANE_H, IDLE);
    if (t->sweeps > n)
        rect(c, x_of(c, t->work_start), COMPUTE_Y, x_of(c, t->work_end) - x_of(c, t->work_start), LANE_H, WAITING);
    for (uint64_t i = 0; i < n && t->sweeps == n; i++)
        rect(c, x_of(c, t->sweep[i].from), COMPUTE_Y, x_of(c, t->sweep[i].to) - x_of(c, t->sweep[i].from), LANE_H,
             WAITING);
}

static void marks(const struct canvas *c)
{
    for (uint32_t i = 0; i < c->t->marks; i++)
        fprintf(c->out, "<path class=\"mark\" d=\"M%.1f %dv%d\"/>\n", x_of(c, c->t->mark[i]), COMPUTE_Y, LANE_H);
}

static void stages(const struct canvas *c)
{
    const struct timeline *t = c->t;

    lane_name(c, READER_Y, "reader", "disk to host slots");
    lane(c, t->busy[ROW_READ], READER_Y, LANE_H, DISK);
    lane(c, t->busy[ROW_READ_REQUEST], READER_Y + LANE_H + 2, REQUEST_H, DISK_2);
    share_text(c, READER_Y, t->share[ROW_READ], "reading");
    lane_name(c, TRANSFER_Y, "transfer", t->copies ? "host to device" : "hands on, no copy");
    lane(c, t->busy[ROW_COPY], TRANSFER_Y, COPY_H - REQUEST_H, LINK);
    lane(c, t->busy[ROW_COPY_REQUEST], TRANSFER_Y + COPY_H - REQUEST_H + 2, REQUEST_H, LINK_2);
    share_text(c, TRANSFER_Y, t->share[ROW_COPY], t->copies ? "copying" : "handing on");
    lane_name(c, COMPUTE_Y, "compute", "tiles in use");
    waiting(c);
    area(c, t->busy[ROW_COMPUTE], NULL, COMPUTE_Y + LANE_H, LANE_H, COMPUTE);
    marks(c);
    lane(c, t->busy[ROW_COMPUTE_REQUEST], COMPUTE_Y + LANE_H + 2, REQUEST_H, COMPUTE_2);
    share_text(c, COMPUTE_Y, t->share[ROW_COMPUTE], "computing");
}

static void ring(const struct canvas *c)
{
    const struct timeline *t = c->t;
    double filled[TIMELINE_BINS], used[TIMELINE_BINS], most = 1;
    char label[64];

    for (int i = 0; i < TIMELINE_BINS; i++) {
        used[i] = t->ring[RING_IN_USE][i];
        filled[i] = used[i] + t->ring[RING_READY][i];
        most = fmax(most, filled[i] + t->ring[RING_FILLING][i]);
    }
    snprintf(label, sizeof label, "up to %.0f", most);
    lane_name(c, RING_Y, "host slots", label);
    rect(c, LEFT, RING_Y, TIMELINE_BINS, RING_H, "#f7f7f7");
    area(c, t->ring[RING_FILLING], filled, RING_Y + RING_H, RING_H / most, DISK_2);
    area(c, t->ring[RING_READY], used, RING_Y + RING_H, RING_H / most, READY);
    area(c, used, NULL, RING_Y + RING_H, RING_H / most, COMPUTE_2);
    text(c, RIGHT + 10, RING_Y + 17, "class=\"s\"", "all blue: the disk");
    text(c, RIGHT + 10, RING_Y + 34, "class=\"s\"", "is waited for");
    text(c, RIGHT + 10, RING_Y + 54, "class=\"s\"", "all yellow: the disk");
    text(c, RIGHT + 10, RING_Y + 71, "class=\"s\"", "waits");
}

/* ---- bandwidth ---- */

/* Bytes per second, over windows wide enough to be read. */
static double rates(const struct timeline *t, const double *bytes, double *out)
{
    const int window = 4;
    double most = 0;

    for (int i = 0; i < TIMELINE_BINS; i += window) {
        double sum = 0;

        for (int k = 0; k < window; k++) sum += bytes[i + k];
        for (int k = 0; k < window; k++) out[i + k] = sum / (window * t->bin);
        most = fmax(most, out[i]);
    }
    return most;
}

static void curve(const struct canvas *c, const double *rate, double most, const char *colour)
{
    double last = -1;

    fprintf(c->out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\" stroke-linejoin=\"round\" d=\"M%d %d",
            colour, LEFT, AXIS_Y);
    for (int i = 0; i < TIMELINE_BINS; i++) {
        double y = AXIS_Y - rate[i] / most * CHART_H;

        if (fabs(y - last) < 0.05) continue;
        fprintf(c->out, "H%dV%.1f", LEFT + i, y);
        last = y;
    }
    fprintf(c->out, "H%d\"/>\n", RIGHT);
}

static void chart(const struct canvas *c)
{
    const struct timeline *t = c->t;
    double disk[TIMELINE_BINS], link[TIMELINE_BINS], compute[TIMELINE_BINS], most = rates(t, t->disk, disk), step, unit;
    char label[32];

    most = fmax(most, rates(t, t->compute, compute));
    if (t->copies) most = fmax(most, rates(t, t->link, link));
    if (!(most > 0)) most = 1;
    step = step_of(most, 5);
    most = ceil(most / step) * step;
    unit = step >= 1e8 ? 1e9 : 1e6;
    lane_name(c, CHART_Y - 28, unit > 1e8 ? "GB/s" : "MB/s", "");
    rect(c, LEFT, CHART_Y, TIMELINE_BINS, CHART_H, "#fbfbfb");
    for (int i = 0; i * step <= most * 1.001; i++) {
        double v = i * step, y = AXIS_Y - v / most * CHART_H;

        fprintf(c->out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", LEFT, y, RIGHT);
        snprintf(label, sizeof label, "%.3g", v / unit);
        text(c, LEFT - 10, y + 4, "class=\"s\" text-anchor=\"end\"", label);
    }
    curve(c, compute, most, COMPUTE);
    if (t->copies) curve(c, link, most, LINK);
    curve(c, disk, most, DISK);
}

static void average_text(const struct canvas *c, double y, const char *what, double bytes, double seconds,
                         const char *colour)
{
    char s[64], style[64];

    snprintf(style, sizeof style, "class=\"s\" style=\"fill:%s\"", colour);
    text(c, RIGHT + 10, y, style, what);
    snprintf(s, sizeof s, bytes / seconds >= 1e8 ? "%.2f GB/s" : "%.3f GB/s", bytes / seconds / 1e9);
    snprintf(style, sizeof style, "class=\"b\" style=\"fill:%s\"", colour);
    text(c, RIGHT + 10, y + 17, style, s);
}

static void averages(const struct canvas *c)
{
    const struct timeline *t = c->t;
    double seconds = fmax(t->end - t->start, 1e-9);

    text(c, RIGHT + 10, CHART_Y + 8, "class=\"s\"", "on the average");
    average_text(c, CHART_Y + 32, "disk", t->disk_bytes, seconds, DISK);
    average_text(c, CHART_Y + 76, "compute", t->compute_bytes, seconds, COMPUTE);
    if (t->copies) average_text(c, CHART_Y + 120, "link", t->link_bytes, seconds, LINK);
}

static void axis(const struct canvas *c)
{
    const struct timeline *t = c->t;
    double span = fmax(t->end - t->start, 1e-9), step = step_of(span, 14),
           unit = span < 2e-3 ? 1e-6
                  : span < 2  ? 1e-3
                              : 1;
    char label[48];

    fprintf(c->out, "<path class=\"axis\" d=\"M%d %dH%d\"/>\n", LEFT, AXIS_Y, RIGHT);
    for (int i = 0; (ceil(t->start / step) + i) * step <= t->end + step / 1e6; i++) {
        double at = (ceil(t->start / step) + i) * step, x = x_of(c, at);

        fprintf(c->out, "<path class=\"axis\" d=\"M%.1f %dv5\"/>\n", x, AXIS_Y);
        snprintf(label, sizeof label, "%.6g", fabs(at) < step / 1e6 ? 0 : at / unit);
        text(c, x, AXIS_Y + 20, "class=\"s\" text-anchor=\"middle\"", label);
    }
    snprintf(label, sizeof label, "%s since the command began",
             unit == 1     ? "seconds"
             : unit > 1e-4 ? "milliseconds"
                           : "microseconds");
    text(c, (LEFT + RIGHT) / 2.0, AXIS_Y + 42, "class=\"s\" text-anchor=\"middle\"", label);
}

/* ---- words ---- */

void timeline_verdict(const struct timeline *t, char *out, size_t room)
{
    double disk = t->share[ROW_READ], link = t->copies ? t->share[ROW_COPY] : 0, compute = t->share[ROW_COMPUTE];
    double most = fmax(disk, fmax(link, compute));
    const char *who = most == disk ? "the disk" : most == link ? "the link to the device" : "compute";

    if (most < 0.7)
        snprintf(
            out, room,
            "no stage works all the time: disk %.0f%%, %scompute %.0f%%; the rest is starting, requests and hand-overs",
            100 * disk, t->copies ? "link and " : "", 100 * compute);
    else
        snprintf(
            out, room,
            "bottleneck: %s, at work %.0f%% of the time from the first sweep to the last (disk %.0f%%, compute %.0f%%)",
            who, 100 * most, 100 * disk, 100 * compute);
}

static void legend(const struct canvas *c)
{
    static const struct {
        const char *colour, *what;
    } item[] = {{DISK, "reading tiles"},
                {DISK_2, "reading requests; slots being filled"},
                {READY, "slots ready"},
                {COMPUTE_2, "slots in use; computing requests"},
                {COMPUTE, "computing tiles"},
                {LINK, "transfer"},
                {WAITING, "waiting in a sweep"},
                {CHECK, "guesses checked"},
                {DRAFT, "guessing"}};
    double x = LEFT;

    for (size_t i = 0; i < sizeof item / sizeof *item; i++) {
        rect(c, x, 76, 12, 12, item[i].colour);
        text(c, x + 17, 87, "class=\"s\"", item[i].what);
        x += 38 + 6.5 * (double)strlen(item[i].what);
    }
}

static void title(const struct canvas *c, const char *name)
{
    const struct timeline *t = c->t;
    char s[320], all[32];

    text(c, LEFT, 28, "class=\"t\"", name);
    time_text(t->end - t->start, all, sizeof all);
    snprintf(s, sizeof s, "%s, %llu sweep%s, %.3g GB read, %.3g GB computed", all, (unsigned long long)t->sweeps,
             t->sweeps == 1 ? "" : "s", t->disk_bytes / 1e9, t->compute_bytes / 1e9);
    text(c, RIGHT, 28, "class=\"s\" text-anchor=\"end\"", s);
    timeline_verdict(t, s, sizeof s);
    text(c, LEFT, 54, "class=\"b\"", s);
}

void timeline_svg(FILE *out, const struct timeline *t, const char *name)
{
    struct canvas c = {out, t};

    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n<style>"
            "text{font-family:\"DejaVu Sans\",Helvetica,Arial,sans-serif;fill:#222}.t{font-size:18px;font-weight:bold}"
            ".b{font-size:14px;font-weight:bold}.s{font-size:12px}.grid{stroke:#ddd}.axis{stroke:#333;fill:none}"
            ".edge{stroke:#555;stroke-opacity:.45;stroke-dasharray:3 "
            "3;fill:none}.mark{stroke:#fff;stroke-opacity:.8;fill:none}"
            "</style>\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    title(&c, name);
    legend(&c);
    stages(&c);
    ring(&c);
    chart(&c);
    averages(&c);
    sweeps(&c);
    axis(&c);
    fputs("</svg>\n", out);
}
