/* Layers of the transforms in float32. Their twins in NumPy are in vqcodec.runtimes.numpy_runtime. Nothing here allocates memory. */

#include "series.h"

enum { LEAKY = 1, ADDED = 2 }; /* what becomes of a layer's sums: a leaky ReLU of slope 0.1, added to what is there */

INLINE vf larger(vf a, vf b) {
    const vi mask = a > b;
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* A few positions, a few vectors of outputs; vector c goes to out + at[c]. */
INLINE void few(const int rows, const int columns, const float *x, size stride, size inputs, const float *weight,
                const float *bias, float *out, size out_stride, const size *at, int finish) {
    vf sum[ROWS][COLUMNS] = {};
    for (size k = 0; k < inputs; k++, weight += LANES * columns) {
        vf w[COLUMNS];
        UNROLL for (int c = 0; c < columns; c++) w[c] = LOAD(vf, weight + LANES * c);
        UNROLL for (int r = 0; r < rows; r++) {
            const vf all = (vf){} + x[r * stride + k];
            UNROLL for (int c = 0; c < columns; c++) sum[r][c] += all * w[c];
        }
    }
    UNROLL for (int c = 0; c < columns; c++) {
        const vf offset = LOAD(vf, bias + LANES * c);
        UNROLL for (int r = 0; r < rows; r++) {
            float *to = out + r * out_stride + at[c];
            vf y = sum[r][c] + offset;
            if (finish & ADDED) y += LOAD(vf, to);
            if (finish & LEAKY) y = larger(y, 0.1f * y);
            STORE(to, y);
        }
    }
}

INLINE void positions(const float *x, size width, size stride, size inputs, const float *weight, const float *bias, float *out,
                      size out_stride, const size *at, size vectors, int finish) {
    size z = 0;
#define FEW(rows, columns) \
    few(rows, columns, x + z * stride, stride, inputs, weight, bias, out + z * out_stride, out_stride, at, finish)
    for (; z + ROWS <= width; z += ROWS)
        switch (vectors) {
        case 1: FEW(ROWS, 1); break;
        case 2: FEW(ROWS, 2); break;
        default: FEW(ROWS, 3);
        }
    for (; z < width; z++)
        switch (vectors) {
        case 1: FEW(1, 1); break;
        case 2: FEW(1, 2); break;
        default: FEW(1, 3);
        }
#undef FEW
}

/* A layer over a plane of positions: [height, width], whose rows of positions are x_row, the positions `stride` floats apart; likewise
out. weight in panels. Output n of a position goes to n / run * run_stride + n % run. Outputs and run are multiples of LANES. */
EXPORT void float_layer(const float *x, size height, size width, size x_row, size stride, size inputs, size outputs,
                        const float *weight, const float *bias, float *out, size out_row, size out_stride, size run,
                        size run_stride, int finish) {
    for (size first = 0; first < outputs; first += LANES * COLUMNS) {
        const size vectors = MIN((outputs - first) / LANES, COLUMNS);
        size at[COLUMNS];
        for (size c = 0; c < vectors; c++) {
            const size n = first + LANES * c;
            at[c] = n / run * run_stride + n % run;
        }
        for (size y = 0; y < height; y++)
            positions(x + y * x_row, width, stride, inputs, weight + first * inputs, bias + first, out + y * out_row,
                      out_stride, at, vectors, finish);
    }
}

/* One row of a depthwise layer. x points at the first position's neighbour above and to the left. */
INLINE void depthwise(const int kernel, const float *x, size x_row, size width, size channels, const float *weight,
                      const float *bias, float *out) {
    for (size c = 0; c < channels; c += LANES)
        for (size z = 0; z < width; z++) {
            vf sum = LOAD(vf, bias + c);
            UNROLL for (int i = 0; i < kernel; i++)
                UNROLL for (int j = 0; j < kernel; j++)
                    sum += LOAD(vf, x + i * x_row + (z + j) * channels + c) * LOAD(vf, weight + (i * kernel + j) * channels + c);
            STORE(out + z * channels + c, sum);
        }
}

/* A residual block, x + second(leaky(first(depthwise(x)))). x and out: planes [height + 2 b, width + 2 b, channels] whose border of
b = kernel / 2 positions is 0; x != out. `first` sees the first `inputs` channels and has `hidden` outputs; channels and hidden are
multiples of LANES. The scratch: width * (channels + hidden). */
EXPORT void float_block(const float *x, size height, size width, size channels, size inputs, size hidden, int kernel,
                        const float *space, const float *space_bias, const float *first, const float *first_bias,
                        const float *second, const float *second_bias, float *scratch, float *out) {
    const size border = kernel / 2, row = (width + 2 * border) * channels;
    float *seen = scratch, *wide = scratch + width * channels;
    for (size y = 0; y < height; y++) {
        if (kernel == 3)
            depthwise(3, x + y * row, row, width, channels, space, space_bias, seen);
        else
            depthwise(5, x + y * row, row, width, channels, space, space_bias, seen);
        float_layer(seen, 1, width, 0, channels, inputs, hidden, first, first_bias, wide, 0, hidden, hidden, 0, LEAKY);
        const size own = (y + border) * row + border * channels;
        memcpy(out + own, x + own, width * channels * sizeof *x);
        float_layer(wide, 1, width, 0, hidden, hidden, channels, second, second_bias, out + own, 0, channels, channels, 0, ADDED);
    }
}

/* The correction's last layer, for a plane x [height + 2, width + 2, channels] with a border: leaky, a layer of 48 outputs, and each
position's 4 x 4 pixels of 3 colours, times `strength`, are added to the picture. The scratch: width * (channels + 48). */
EXPORT void float_paint(const float *x, size height, size width, size channels, size inputs, const float *weight,
                        const float *bias, float strength, float *scratch, float *picture, size picture_row) {
    float *active = scratch, *painted = scratch + width * channels;
    for (size y = 0; y < height; y++) {
        const float *from = x + ((y + 1) * (width + 2) + 1) * channels;
        for (size i = 0; i < width * channels; i++) active[i] = from[i] > 0.1f * from[i] ? from[i] : 0.1f * from[i];
        float_layer(active, 1, width, 0, channels, inputs, 48, weight, bias, painted, 0, 48, 48, 0, 0);
        for (size i = 0; i < 4; i++)
            for (size z = 0; z < width; z++)
                for (size n = 0; n < 12; n++)
                    picture[(4 * y + i) * picture_row + 12 * z + n] += strength * painted[48 * z + 12 * i + n];
    }
}

/* 2 asinh(x / sigma / 2): x and out [n, channels] */
EXPORT void float_compand(const float *x, size n, size channels, size stride, const float *sigma, float *out) {
    for (size i = 0; i < n; i++)
        for (size c = 0; c < channels; c++) {
            const float value = x[i * stride + c] / sigma[c], half = 0.5f * fabsf(value);
            const float t = half + sqrtf(half * half + 1);
            out[i * channels + c] = copysignf(2 * natural_log(t), value);
        }
}

/* Pictures of [-0.5, 0.5] to levels, halves to even: [height, width, 3], or the mean of the colours if `grey`. */
EXPORT void float_levels(const float *picture, size height, size width, size picture_row, int grey, uint8_t *out,
                         size out_row) {
    const float most = 255, round = 12582912; /* 1.5 * 2^23: the last bit of a sum with it is 1 */
    for (size y = 0; y < height; y++) {
        const float *from = picture + y * picture_row;
        uint8_t *to = out + y * out_row;
        for (size n = 0; n < (grey ? width : 3 * width); n++) {
            float v = grey ? (from[3 * n] + from[3 * n + 1] + from[3 * n + 2]) / 3 : from[n];
            v = (v + 0.5f) * 255;
            v = v > 0 ? v : 0;
            v = (v < most ? v : most) + round;
            uint32_t bits;
            memcpy(&bits, &v, sizeof bits);
            to[n] = (uint8_t)bits;
        }
    }
}
