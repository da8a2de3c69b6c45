/*
 * exp.h - how every vector set computes exp(x): the numbers, of which each makes its own vectors;
 * and those of functions made of it. They do the same operations in the same order, so they give
 * the same bits.
 *
 * x, clamped, times log2(e) is n + r with |r| ≤ 1/2. 2^r is a polynomial of degree 5: of those that
 * are 1 at 0, the one that is nearest by relative error (9.2e-8). 2^n is made of its exponent
 * field. Relative error below 2e-7 over [-87.3, 88.3]; 0 below, infinity above; a NaN stays one.
 */
#ifndef MISTRAL_BACKEND_CPU_EXP_H
#define MISTRAL_BACKEND_CPU_EXP_H

enum { EXP_DEGREE = 5 };

static const float exp_lowest = -87.3f, exp_highest = 89.0f;
static const float exp_log2_e = 1.44269502f, exp_log2_e_rest = 1.925963e-8f;
/* To add it rounds to an integer, which then stands in the low bits, 127 higher: n's exponent. */
static const float exp_rounds = 12582912.0f + 127.0f;
static const float exp_polynomial[EXP_DEGREE + 1] = {
    1.0f, 6.931470037e-1f, 2.402224243e-1f, 5.550733581e-2f, 9.671512991e-3f, 1.326472848e-3f};

/* gelu(x) is near x sigmoid(gelu_factor (x + gelu_cube x³)): 2 sqrt(2 / pi), 0.044715. */
static const float gelu_factor = 1.59576912f, gelu_cube = 0.044715f;

#endif
