/* exp, tanh, sigmoid and the gelus over sixteen lanes: polynomials in a fixed order of operations, the same bits in every
 * variant. Included after one of the vec_*.h. Coefficients are weighted minimax fits made for this file; the errors told are
 * against double precision. Not-a-numbers come out as such. */
#pragma once

/* Relative error 1e-7 (1.2 ulp); 0 below -87.3, saturates at 88.3 (2e38). */
INLINE vf vf_exp(vf x)
{
    const vf magic = vf_set1(12582912.0f), lowest = vf_set1(-87.33f); /* 1.5 * 2^23 */
    vf y = vf_min(vf_set1(88.37f), vf_max(lowest, x));
    vf t = vf_fma(y, vf_set1(1.44269504f), magic);
    vf n = vf_sub(t, magic);
    vf r = vf_fma(n, vf_set1(-0x1.62ep-1f), y); /* ln 2 in two parts */
    r = vf_fma(n, vf_set1(-0x1.0bfbe8p-15f), r);
    vf q = vf_fma(vf_set1(1.381422160e-3f), r, vf_set1(8.368899114e-3f));
    q = vf_fma(q, r, vf_set1(4.166840389e-2f));
    q = vf_fma(q, r, vf_set1(1.666651964e-1f));
    q = vf_fma(q, r, vf_set1(4.999999404e-1f));
    vf p = vf_add(vf_fma(vf_mul(r, r), q, r), vf_set1(1.0f));
    return vf_sel(vf_lt(x, lowest), vf_zero(), vf_mul(p, vf_pow2_magic(t)));
}

/* 1 / (1 + exp(-x)) */
INLINE vf vf_sigmoid(vf x)
{
    const vf one = vf_set1(1.0f);
    return vf_div(one, vf_add(one, vf_exp(vf_sub(vf_zero(), x))));
}

/* log(1 + exp(x)), relative error 3e-7: with u = exp(-|x|), log(1 + u) is 2 atanh(u / (2 + u)), a series in squares up to 1/9. */
INLINE vf vf_softplus(vf x)
{
    vf u = vf_exp(vf_or(x, vf_set1(-0.0f)));
    vf s = vf_div(u, vf_add(u, vf_set1(2.0f))), s2 = vf_mul(s, s);
    vf q = vf_fma(vf_set1(1.0f / 15), s2, vf_set1(1.0f / 13));
    q = vf_fma(q, s2, vf_set1(1.0f / 11));
    q = vf_fma(q, s2, vf_set1(1.0f / 9));
    q = vf_fma(q, s2, vf_set1(1.0f / 7));
    q = vf_fma(q, s2, vf_set1(1.0f / 5));
    q = vf_fma(q, s2, vf_set1(1.0f / 3));
    q = vf_fma(vf_mul(q, s2), s, s);
    return vf_add(vf_max(vf_zero(), x), vf_add(q, q));
}

/* Relative error 3e-7: a polynomial near zero, 1 - 2 / (exp(2|x|) + 1) beyond. */
INLINE vf vf_tanh(vf x)
{
    const vf one = vf_set1(1.0f);
    vf a = vf_and_bits(x, 0x7fffffffu), s = vf_mul(x, x);
    vf q = vf_fma(vf_set1(-5.648315884e-3f), s, vf_set1(2.058982663e-2f));
    q = vf_fma(q, s, vf_set1(-5.372512713e-2f));
    q = vf_fma(q, s, vf_set1(1.333127469e-1f));
    q = vf_fma(q, s, vf_set1(-3.333327472e-1f));
    vf near = vf_fma(vf_mul(x, s), q, x);
    vf far = vf_sub(one, vf_div(vf_set1(2.0f), vf_add(vf_exp(vf_add(a, a)), one)));
    return vf_sel(vf_lt(a, vf_set1(0.625f)), near, vf_or(far, vf_and_bits(x, 0x80000000u)));
}

/* x Phi(x), Phi the normal distribution: absolute error 1e-7 |x|, and relative error 1e-6 down to x = -6. Near zero erf
 * itself is a polynomial, beyond the logarithm of erfc is one. */
INLINE vf vf_gelu_erf(vf x)
{
    const vf half = vf_set1(0.5f);
    vf z = vf_mul(x, vf_set1(0.70710678f)), a = vf_and_bits(z, 0x7fffffffu);
    vf s = vf_mul(z, z);
    vf q = vf_fma(vf_set1(-9.641517863e-6f), s, vf_set1(1.125694835e-4f));
    q = vf_fma(q, s, vf_set1(-8.482828853e-4f));
    q = vf_fma(q, s, vf_set1(5.220945459e-3f));
    q = vf_fma(q, s, vf_set1(-2.686540037e-2f));
    q = vf_fma(q, s, vf_set1(1.128378212e-1f));
    q = vf_fma(q, s, vf_set1(-3.761263788e-1f));
    q = vf_fma(q, s, vf_set1(1.128379226f));
    vf near = vf_fma(vf_mul(half, z), q, half);
    vf b = vf_min(vf_set1(6.0f), a);
    vf p = vf_fma(vf_set1(-1.344231123e-6f), b, vf_set1(4.076280311e-5f));
    p = vf_fma(p, b, vf_set1(-5.568226334e-4f));
    p = vf_fma(p, b, vf_set1(4.594550934e-3f));
    p = vf_fma(p, b, vf_set1(-2.601256408e-2f));
    p = vf_fma(p, b, vf_set1(1.094570309e-1f));
    p = vf_fma(p, b, vf_set1(6.323993802e-1f));
    p = vf_fma(p, b, vf_set1(1.129941583f));
    p = vf_fma(p, b, vf_set1(-2.570258803e-4f));
    vf tail = vf_mul(half, vf_exp(vf_sub(vf_zero(), p))); /* Phi(-|x|) */
    vf far = vf_sel(vf_lt(z, vf_zero()), tail, vf_sub(vf_set1(1.0f), tail));
    return vf_mul(x, vf_sel(vf_lt(a, vf_set1(1.0f)), near, far));
}

/* 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3) */
INLINE vf vf_gelu_tanh(vf x)
{
    vf u = vf_mul(vf_set1(0.79788456f), vf_fma(vf_mul(vf_mul(x, x), x), vf_set1(0.044715f), x));
    return vf_mul(x, vf_sigmoid(vf_add(u, u)));
}
