/* The layers of the decoder in WebAssembly SIMD. src/plain.js defines what each function computes; src/kernels.js calls them.

Every position has its channels padded with zeros to a multiple of 4. Weights lie in panels of up to 3 vectors of outputs, and are read
from one end to the other. A product keeps 3 positions x 3 vectors of sums in registers. Nothing here allocates memory.
`sh browser/kernels/build.sh` compiles this file. */

#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")
#define MIN(a, b) ((a) < (b) ? (a) : (b))
enum { ROWS = 3, COLUMNS = 3, LANES = 4 };
enum { INTEGERS, CLAMPED, LEAKY, ADDED }; /* what becomes of an integer layer's sums */
enum { FLOAT_LEAKY = 1, FLOAT_ADDED = 2 };

#if defined __wasm_relaxed_simd__
#define MULTIPLY_ADD(a, b, c) wasm_f32x4_relaxed_madd(a, b, c) /* floats may round once or twice */
#else
#define MULTIPLY_ADD(a, b, c) wasm_f32x4_add(wasm_f32x4_mul(a, b), c)
#endif

INLINE v128_t clamp(v128_t y) {
    return wasm_i32x4_max(wasm_i32x4_min(y, wasm_i32x4_const_splat(127)), wasm_i32x4_const_splat(-127));
}

INLINE void finish_integers(v128_t y, const int finish, const int16_t *add, void *out) {
    if (finish == INTEGERS) {
        wasm_v128_store(out, y);
        return;
    }
    if (finish == LEAKY) y = wasm_i32x4_max(y, wasm_i32x4_shr(y, 3));
    y = clamp(y);
    if (finish == ADDED) y = clamp(wasm_i32x4_add(y, wasm_i32x4_load16x4(add)));
    wasm_v128_store64_lane(out, wasm_i16x8_narrow_i32x4(y, y), 0);
}

/* Each lane of y, shifted by its own number of bits, 0..20: a product with 2^(20 - bits) would overflow, so lane by lane. */
INLINE v128_t shift_lanes(v128_t y, const int32_t *bits) {
    return wasm_i32x4_make(wasm_i32x4_extract_lane(y, 0) >> bits[0], wasm_i32x4_extract_lane(y, 1) >> bits[1],
                           wasm_i32x4_extract_lane(y, 2) >> bits[2], wasm_i32x4_extract_lane(y, 3) >> bits[3]);
}

INLINE void few_integers(const int rows, const int columns, const int16_t *x, int inputs, int stride, int outputs,
                         const int16_t *weight, const int32_t *bias, const int32_t *shift, const int16_t *add, int add_stride,
                         const int finish, char *out) {
    const int unit = finish == INTEGERS ? 4 : 2;
    v128_t sum[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < columns; c++) sum[r][c] = wasm_v128_load(bias + LANES * c);
    for (int k = 0; k < inputs; k += 2, weight += 2 * LANES * columns) {
        v128_t w[COLUMNS];
        UNROLL for (int c = 0; c < columns; c++) w[c] = wasm_v128_load(weight + 2 * LANES * c);
        UNROLL for (int r = 0; r < rows; r++) {
            const v128_t both = wasm_v128_load32_splat(x + r * stride + k);
            UNROLL for (int c = 0; c < columns; c++) sum[r][c] = wasm_i32x4_add(sum[r][c], wasm_i32x4_dot_i16x8(both, w[c]));
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < columns; c++)
            finish_integers(shift_lanes(sum[r][c], shift + LANES * c), finish, add + r * add_stride + LANES * c,
                            out + (r * outputs + LANES * c) * unit);
}

INLINE void integers(const int16_t *x, int rows, int inputs, int stride, int outputs, const int16_t *weight, const int32_t *bias,
                     const int32_t *shift, const int16_t *add, int add_stride, const int finish, char *out) {
    const int unit = finish == INTEGERS ? 4 : 2;
    for (int first = 0; first < outputs; first += LANES * COLUMNS) {
        const int vectors = MIN((outputs - first) / LANES, COLUMNS);
        int row = 0;
#define FEW(rows, columns)                                                                                             \
    few_integers(rows, columns, x + row * stride, inputs, stride, outputs, weight + first * inputs, bias + first, shift + first, \
                 add + row * add_stride + first, add_stride, finish, out + (row * outputs + first) * unit)
#define CASES(rows)                                                                                                    \
    switch (vectors) {                                                                                                 \
    case 1: FEW(rows, 1); break;                                                                                       \
    case 2: FEW(rows, 2); break;                                                                                       \
    default: FEW(rows, 3);                                                                                             \
    }
        for (; row + ROWS <= rows; row += ROWS) CASES(ROWS)
        for (; row < rows; row++) CASES(1)
#undef FEW
    }
}

/* A layer of the prior. x: int16 [rows, stride], of which `inputs`, an even number, count; out [rows, outputs]: int32 of INTEGERS,
else int16. ADDED adds `add`, whose rows are add_stride apart. */
EXPORT(integer_layer)
void integer_layer(const int16_t *x, int rows, int inputs, int stride, int outputs, const int16_t *weight, const int32_t *bias,
                   const int32_t *shift, const int16_t *add, int add_stride, int finish, char *out) {
    switch (finish) {
    case INTEGERS: integers(x, rows, inputs, stride, outputs, weight, bias, shift, add, 0, INTEGERS, out); break;
    case CLAMPED: integers(x, rows, inputs, stride, outputs, weight, bias, shift, add, 0, CLAMPED, out); break;
    case LEAKY: integers(x, rows, inputs, stride, outputs, weight, bias, shift, add, 0, LEAKY, out); break;
    default: integers(x, rows, inputs, stride, outputs, weight, bias, shift, add, add_stride, ADDED, out);
    }
}

/* A depthwise 3x3 layer of the prior, clamped, zeros around it. x, out: int16 [height, width, channels]; weight: int16 [9, channels]. */
EXPORT(integer_depthwise)
void integer_depthwise(const int16_t *x, int height, int width, int channels, const int16_t *weight, const int32_t *bias,
                       const int32_t *shift, int16_t *out) {
    for (int y = 0; y < height; y++)
        for (int z = 0; z < width; z++)
            for (int c = 0; c < channels; c += LANES) {
                v128_t sum = wasm_v128_load(bias + c);
                for (int n = 0; n < 9; n++) {
                    const int down = y + n / 3 - 1, right = z + n % 3 - 1;
                    if (down < 0 || down >= height || right < 0 || right >= width) continue;
                    sum = wasm_i32x4_add(sum, wasm_i32x4_mul(wasm_i32x4_load16x4(weight + n * channels + c),
                                                             wasm_i32x4_load16x4(x + (down * width + right) * channels + c)));
                }
                finish_integers(shift_lanes(sum, shift + c), CLAMPED, 0, out + (y * width + z) * channels + c);
            }
}

INLINE void few_floats(const int rows, const int columns, const float *x, int stride, int inputs, const float *weight,
                       const float *bias, float *out, int out_stride, int first, int run, int run_stride, int finish) {
    v128_t sum[ROWS][COLUMNS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < columns; c++) sum[r][c] = wasm_v128_load(bias + LANES * c);
    for (int k = 0; k < inputs; k++, weight += LANES * columns) {
        v128_t w[COLUMNS];
        UNROLL for (int c = 0; c < columns; c++) w[c] = wasm_v128_load(weight + LANES * c);
        UNROLL for (int r = 0; r < rows; r++) {
            const v128_t all = wasm_v128_load32_splat(x + r * stride + k);
            UNROLL for (int c = 0; c < columns; c++) sum[r][c] = MULTIPLY_ADD(all, w[c], sum[r][c]);
        }
    }
    UNROLL for (int c = 0; c < columns; c++) {
        float *to = out + (first + LANES * c) / run * run_stride + (first + LANES * c) % run;
        UNROLL for (int r = 0; r < rows; r++) {
            v128_t y = sum[r][c];
            if (finish & FLOAT_LEAKY) y = wasm_f32x4_pmax(y, wasm_f32x4_mul(y, wasm_f32x4_const_splat(0.1f)));
            if (finish & FLOAT_ADDED) y = wasm_f32x4_add(y, wasm_v128_load(to + r * out_stride));
            wasm_v128_store(to + r * out_stride, y);
        }
    }
}

/* A layer over a plane of positions [height, width]. Rows of positions are x_row floats apart, positions x_stride; likewise out. Of its
weight_inputs inputs the first `inputs` are seen. Output n of a position is at n / run * run_stride + n % run; run is a multiple of 4. */
EXPORT(float_layer)
void float_layer(const float *x, int height, int width, int x_row, int x_stride, int inputs, int weight_inputs, int outputs,
                 const float *weight, const float *bias, float *out, int out_row, int out_stride, int run, int run_stride, int finish) {
    for (int y = 0; y < height; y++) /* the weights of a layer do not fit the first cache, the inputs of a row nearly do */
        for (int first = 0; first < outputs; first += LANES * COLUMNS) {
            const int vectors = MIN((outputs - first) / LANES, COLUMNS);
            const float *from = x + y * x_row;
            float *to = out + y * out_row;
            int row = 0;
#define FEW(rows, columns)                                                                                             \
    few_floats(rows, columns, from + row * x_stride, x_stride, inputs, weight + first * weight_inputs, bias + first,   \
               to + row * out_stride, out_stride, first, run, run_stride, finish)
            for (; row + ROWS <= width; row += ROWS) CASES(ROWS)
            for (; row < width; row++) CASES(1)
#undef FEW
        }
}

/* One row of a depthwise 3x3 layer. x: the upper left neighbour of the first position; rows of positions are x_row floats apart. */
EXPORT(float_depthwise)
void float_depthwise(const float *x, int x_row, int width, int channels, const float *weight, const float *bias, float *out) {
    for (int c = 0; c < channels; c += LANES) {
        v128_t w[9];
        UNROLL for (int n = 0; n < 9; n++) w[n] = wasm_v128_load(weight + n * channels + c);
        for (int z = 0; z < width; z++) {
            v128_t sum = wasm_v128_load(bias + c);
            UNROLL for (int n = 0; n < 9; n++)
                sum = MULTIPLY_ADD(wasm_v128_load(x + n / 3 * x_row + (z + n % 3) * channels + c), w[n], sum);
            wasm_v128_store(out + z * channels + c, sum);
        }
    }
}

/* to += factor * from, for n floats, a multiple of 4. */
EXPORT(float_add)
void float_add(const float *from, float factor, float *to, int n) {
    const v128_t all = wasm_f32x4_splat(factor);
    for (int i = 0; i < n; i += LANES)
        wasm_v128_store(to + i, MULTIPLY_ADD(all, wasm_v128_load(from + i), wasm_v128_load(to + i)));
}

/* x = max(x, 0.1 x), for n floats, a multiple of 4. */
EXPORT(float_leaky)
void float_leaky(float *x, int n) {
    for (int i = 0; i < n; i += LANES) {
        const v128_t y = wasm_v128_load(x + i);
        wasm_v128_store(x + i, wasm_f32x4_pmax(y, wasm_f32x4_mul(y, wasm_f32x4_const_splat(0.1f))));
    }
}

/* A row of pixels, 3 floats around mid-grey each, to red, green, blue and opaque alpha; halves go to even. from has a float to spare. */
EXPORT(float_levels)
void float_levels(const float *from, int width, int grey, uint32_t *out) {
    for (int z = 0; z < width; z++) {
        v128_t v = wasm_v128_load(from + 3 * z);
        if (grey) v = wasm_f32x4_splat((from[3 * z] + from[3 * z + 1] + from[3 * z + 2]) / 3);
        v = wasm_f32x4_mul(wasm_f32x4_add(v, wasm_f32x4_const_splat(0.5f)), wasm_f32x4_const_splat(255));
        v = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(v));
        v = wasm_i16x8_narrow_i32x4(v, v);
        v = wasm_u8x16_narrow_i16x8(v, v);
        out[z] = (uint32_t)wasm_i32x4_extract_lane(v, 0) | 0xff000000u;
    }
}
