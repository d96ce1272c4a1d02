/* The vector instructions of WebAssembly that kernels.c uses, one lane at a time, for compilers that check each step: see run.sh. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef union {
    int32_t i[4];
    float f[4];
    int16_t h[8];
    uint8_t b[16];
} v128_t;

#define LANE static inline __attribute__((always_inline))
#define EACH(n) for (int l = 0; l < (n); l++)
#define BINARY(name, part, lanes, value)                                                                                  \
    LANE v128_t name(v128_t a, v128_t b) {                                                                             \
        v128_t y;                                                                                                      \
        EACH(lanes) y.part[l] = (value);                                                                               \
        return y;                                                                                                      \
    }

BINARY(wasm_i32x4_add, i, 4, a.i[l] + b.i[l])
BINARY(wasm_i32x4_mul, i, 4, a.i[l] * b.i[l])
BINARY(wasm_i32x4_min, i, 4, a.i[l] < b.i[l] ? a.i[l] : b.i[l])
BINARY(wasm_i32x4_max, i, 4, a.i[l] > b.i[l] ? a.i[l] : b.i[l])
BINARY(wasm_i32x4_dot_i16x8, i, 4, a.h[2 * l] * b.h[2 * l] + a.h[2 * l + 1] * b.h[2 * l + 1])
BINARY(wasm_f32x4_add, f, 4, a.f[l] + b.f[l])
BINARY(wasm_f32x4_mul, f, 4, a.f[l] * b.f[l])
BINARY(wasm_f32x4_pmax, f, 4, a.f[l] < b.f[l] ? b.f[l] : a.f[l])

LANE int32_t clipped(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }
BINARY(wasm_i16x8_narrow_i32x4, h, 8, (int16_t)clipped(l < 4 ? a.i[l] : b.i[l - 4], -32768, 32767))
BINARY(wasm_u8x16_narrow_i16x8, b, 16, (uint8_t)clipped(l < 8 ? a.h[l] : b.h[l - 8], 0, 255))

LANE v128_t wasm_i32x4_make(int32_t a, int32_t b, int32_t c, int32_t d) { return (v128_t){.i = {a, b, c, d}}; }
LANE v128_t wasm_f32x4_splat(float a) { return (v128_t){.f = {a, a, a, a}}; }
#define wasm_i32x4_const_splat(a) wasm_i32x4_make(a, a, a, a)
#define wasm_f32x4_const_splat(a) wasm_f32x4_splat(a)
#define wasm_i32x4_extract_lane(a, lane) ((a).i[lane])

LANE v128_t wasm_i32x4_shr(v128_t a, int bits) {
    EACH(4) a.i[l] >>= bits;
    return a;
}

LANE v128_t wasm_f32x4_nearest(v128_t a) {
    EACH(4) a.f[l] = rintf(a.f[l]);
    return a;
}

LANE v128_t wasm_i32x4_trunc_sat_f32x4(v128_t a) {
    v128_t y;
    EACH(4) y.i[l] = isnan(a.f[l]) ? 0 : a.f[l] >= 2147483648.0f ? INT32_MAX : a.f[l] < -2147483648.0f ? INT32_MIN : (int32_t)a.f[l];
    return y;
}

LANE v128_t wasm_v128_load(const void *from) {
    v128_t y;
    memcpy(&y, from, 16);
    return y;
}

LANE v128_t wasm_v128_load32_splat(const void *from) {
    v128_t y;
    EACH(4) memcpy(&y.i[l], from, 4);
    return y;
}

LANE v128_t wasm_i32x4_load16x4(const void *from) {
    int16_t four[4];
    memcpy(four, from, 8);
    return wasm_i32x4_make(four[0], four[1], four[2], four[3]);
}

LANE void wasm_v128_store(void *to, v128_t a) { memcpy(to, &a, 16); }
#define wasm_v128_store64_lane(to, a, lane) memcpy(to, &(a).b[8 * (lane)], 8)
