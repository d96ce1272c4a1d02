/* Vectors of the widest registers that the compiler was allowed to use, in the vector extensions of GCC and Clang.

A matrix product keeps ROWS x COLUMNS vectors of sums in registers. Weights lie in panels of COLUMNS vectors, so that they are read from
one end to the other. */

#ifndef SIMD_H
#define SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined __AVX512VNNI__
#include <immintrin.h>
#define LANES 16
#define ROWS 8
#elif defined __AVX2__
#include <immintrin.h>
#define LANES 8
#define ROWS 4
#else
#if defined __SSE2__
#include <emmintrin.h>
#elif defined __wasm_simd128__
#include <wasm_simd128.h>
#endif
#define LANES 4
#if defined __aarch64__
#define ROWS 8 /* of 32 registers */
#else
#define ROWS 4
#endif
#endif
#define COLUMNS 3
#define VERSION 3 /* of the functions' arguments; the same number stands in __init__.py */

#if defined _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef int16_t vs __attribute__((vector_size(2 * LANES)));
typedef ptrdiff_t size;

#define LOAD(type, from) ({ type v_; memcpy(&v_, (from), sizeof v_); v_; })
#define STORE(to, value) ({ __typeof__(value) v_ = (value); memcpy((to), &v_, sizeof v_); })
#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* Lane by lane, sum += the two products of pairs of int16. */
INLINE vi dot2(vi sum, vi a, vi b) {
#if defined __AVX512VNNI__
    return (vi)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined __AVX2__
    return sum + (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined __SSE2__
    return sum + (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#elif defined __wasm_simd128__
    return sum + (vi)wasm_i32x4_dot_i16x8((v128_t)a, (v128_t)b);
#else
    return sum + (a >> 16) * (b >> 16) + ((vi)((vi)a << 16) >> 16) * ((vi)((vi)b << 16) >> 16);
#endif
}

#endif
