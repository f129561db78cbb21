#include "coordinator/pack/fit.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Four numbers at once: the same operations whatever the processor has, so the same bits. */
typedef float vec __attribute__((vector_size(16)));
typedef int32_t mask __attribute__((vector_size(16)));

#define LANES 4u

static inline vec load(const float *p)
{
    vec v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline vec all(float x)
{
    return (vec){x, x, x, x};
}

static inline vec choose(mask m, vec a, vec b)
{
    return (vec)((m & (mask)a) | (~m & (mask)b));
}

static inline vec between(vec x, vec least, vec most)
{
    x = choose(x < least, least, x);
    return choose(x > most, most, x);
}

/* To the nearest, ties to even; of numbers below 2^22. */
static inline vec nearest(vec x)
{
    const vec shift = all(12582912.0f);

    return (x + shift) - shift;
}

static inline float sum(vec v)
{
    return (v[0] + v[1]) + (v[2] + v[3]);
}

void fit_weigh_squares(float *w, const float *x, unsigned n)
{
    for (unsigned i = 0; i < n; i++) w[i] = x[i] * x[i];
}

void fit_weigh(float *w, const float *x, unsigned n)
{
    vec squares = all(0);
    float mean;

    for (unsigned i = 0; i < n; i += LANES) squares += load(x + i) * load(x + i);
    mean = sqrtf(sum(squares) / (float)n);
    for (unsigned i = 0; i < n; i++) w[i] = mean + fabsf(x[i]);
}

/* ---- one number ---- */

/* The largest by its size, with its sign. */
static float farthest(const float *x, unsigned n)
{
    float most = 0;

    for (unsigned i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(most)) most = x[i];
    return most;
}

float fit_scale(const float *x, const float *w, unsigned n, int levels)
{
    const vec low = all((float)-levels), high = all((float)(levels - 1));
    float most = farthest(x, n), scale = 0;
    double best = 0;

    if (!(fabsf(most) > 1e-30f)) return 0;
    for (int step = -12; step <= 12; step++) { /* the farthest element at one end, a little more or less */
        const vec inverse = all(-((float)levels + 0.1f * (float)step) / most);
        vec xq = all(0), qq = all(0);
        double a, b;

        for (unsigned i = 0; i < n; i += LANES) {
            vec v = load(x + i), u = load(w + i), q = between(nearest(v * inverse), low, high);

            xq += u * v * q;
            qq += u * q * q;
        }
        a = (double)sum(xq);
        b = (double)sum(qq);
        if (!(b > 0) || a * a <= best * b) continue;
        best = a * a / b;
        scale = (float)(a / b);
    }
    return scale;
}

/* ---- two ---- */

struct sums {
    double w, x, xx; /* of all elements, weighted */
};

struct line {
    double scale, least, error;
};

/* The least squares for the levels that this step and origin give. */
static struct line fit_line(const float *x, const float *w, unsigned n, const struct sums *s, float inverse,
                            float origin, int most, bool not_above)
{
    const vec zero = all(0), top = all((float)most), step = all(inverse), from = all(origin);
    vec lv = zero, llv = zero, xlv = zero;
    double l, ll, xl, d;
    struct line r = {.error = INFINITY};

    for (unsigned i = 0; i < n; i += LANES) {
        vec v = load(x + i), u = load(w + i), q = between(nearest((v - from) * step), zero, top), uq = u * q;

        lv += uq;
        llv += uq * q;
        xlv += uq * v;
    }
    l = (double)sum(lv);
    ll = (double)sum(llv);
    xl = (double)sum(xlv);
    d = s->w * ll - l * l;
    if (!(d > 0)) return r;
    r.scale = (s->w * xl - s->x * l) / d;
    r.least = (ll * s->x - l * xl) / d;
    if (not_above && r.least > 0) {
        r.least = 0;
        r.scale = xl / ll;
    }
    r.error = s->xx - r.scale * xl - r.least * s->x;
    return r;
}

static struct sums sum_all(const float *x, const float *w, unsigned n)
{
    vec a = all(0), b = all(0), c = all(0);

    for (unsigned i = 0; i < n; i += LANES) {
        vec v = load(x + i), u = load(w + i);

        a += u;
        b += u * v;
        c += u * v * v;
    }
    return (struct sums){(double)sum(a), (double)sum(b), (double)sum(c)};
}

float fit_affine(const float *x, const float *w, unsigned n, int most, bool not_above, float *least)
{
    float low = x[0], high = x[0];
    struct line best = {.error = INFINITY};
    struct sums s;

    for (unsigned i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    if (not_above && low > 0) low = 0;
    *least = low;
    if (!(high - low > 1e-30f)) return 0;
    s = sum_all(x, w, n);
    for (int step = -10; step <= 10; step++) { /* the range a little longer or shorter than the levels */
        struct line r = fit_line(x, w, n, &s, ((float)most + 0.1f * (float)step) / (high - low), low, most, not_above);

        if (r.error < best.error && r.scale > 0) best = r;
    }
    for (int again = 0; again < 3 && best.error < INFINITY;
         again++) { /* levels by the line that was found, and so on */
        struct line r = fit_line(x, w, n, &s, 1 / (float)best.scale, (float)best.least, most, not_above);

        if (!(r.error < best.error) || !(r.scale > 0)) break;
        best = r;
    }
    if (!(best.error < INFINITY)) return (high - low) / (float)most;
    *least = (float)best.least;
    return (float)best.scale;
}
