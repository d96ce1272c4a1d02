/* Elementary functions in float32, written so that compilers vectorise the loops around them. */

#ifndef SERIES_H
#define SERIES_H

#include "simd.h"

#include <math.h>

#define IVDEP _Pragma("GCC ivdep")
#define LN2 0.69314718f

/* 2^x, held between 2^-100 and 2^100: processors are slow with the smallest numbers */
INLINE float power_of_2(float x) {
    x = x > -100 ? x : -100;
    x = x < 100 ? x : 100;
    const float moved = x + 12582912; /* 1.5 * 2^23: the last bit of the sum is 1 */
    const float f = x - (moved - 12582912);
    float p = 1.5252733e-5f;
    p = p * f + 1.5403530e-4f;
    p = p * f + 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1;
    int32_t bits, exponent;
    memcpy(&exponent, &moved, sizeof exponent);
    memcpy(&bits, &p, sizeof bits);
    bits += (exponent - 0x4b400000) << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

/* The natural logarithm of a positive number. The polynomial is that of Cephes, by S. Moshier. */
INLINE float natural_log(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t shifted = bits - 0x3f3504f3; /* sqrt(1/2): mantissas lie in sqrt(1/2)..sqrt(2) */
    const float exponent = (float)((int32_t)shifted >> 23);
    bits = (shifted & 0x7fffff) + 0x3f3504f3;
    float m;
    memcpy(&m, &bits, sizeof m);
    m -= 1;
    const float square = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    return p * m * square - 0.5f * square + m + exponent * 0.693147180559945f;
}

INLINE float cube_root(float x) { return power_of_2(1 / (3 * LN2) * natural_log(x)); }

#endif
