/* Layers of the transforms in float32. Their twins in NumPy are in vqcodec.runtimes.numpy_runtime. Nothing here allocates memory. */

#include "simd.h"

enum { LEAKY = 1, ADDED = 2 }; /* what becomes of a layer's sums: a leaky ReLU of slope 0.1, added to what is there */

INLINE vf larger(vf a, vf b) {
    const vi mask = a > b;
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* Where a layer's outputs go: output n of a position is at n / run * run_stride + n % run. */
typedef struct {
    size run, run_stride, outputs;
} Place;

INLINE void put(float *to, size first, vf y, int finish, const Place *place) {
    if (finish & LEAKY) y = larger(y, 0.1f * y);
    const size in_run = first % place->run;
    if (in_run + LANES <= place->run && first + LANES <= place->outputs) {
        to += first / place->run * place->run_stride + in_run;
        if (finish & ADDED) y += LOAD(vf, to);
        STORE(to, y);
        return;
    }
    for (size n = first; n < MIN(first + LANES, place->outputs); n++) {
        float *at = to + n / place->run * place->run_stride + n % place->run;
        *at = finish & ADDED ? *at + y[n - first] : y[n - first];
    }
}

/* A few positions, a few vectors of outputs from `first` on. */
INLINE void few(const int rows, const int columns, const float *x, size stride, size inputs, const float *weight,
                const float *bias, float *out, size out_stride, size first, const Place *place, int finish) {
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
        UNROLL for (int r = 0; r < rows; r++)
            put(out + r * out_stride, first + LANES * c, sum[r][c] + offset, finish, place);
    }
}

INLINE void positions(const float *x, size width, size stride, size inputs, const float *weight, const float *bias, float *out,
                      size out_stride, size first, const Place *place, int finish) {
    const size vectors = MIN((place->outputs - first + LANES - 1) / LANES, COLUMNS);
    size at = 0;
#define FEW(rows, columns)                                                                                           \
    few(rows, columns, x + at * stride, stride, inputs, weight, bias, out + at * out_stride, out_stride, first, place, finish)
    for (; at + ROWS <= width; at += ROWS)
        switch (vectors) {
        case 1: FEW(ROWS, 1); break;
        case 2: FEW(ROWS, 2); break;
        default: FEW(ROWS, 3);
        }
    for (; at < width; at++)
        switch (vectors) {
        case 1: FEW(1, 1); break;
        case 2: FEW(1, 2); break;
        default: FEW(1, 3);
        }
#undef FEW
}

/* A layer over a plane of positions: [height, width], whose rows of positions are x_row, the positions `stride` floats apart; likewise
out. weight in panels, bias padded to whole vectors; see Place for run and run_stride. */
EXPORT void float_layer(const float *x, size height, size width, size x_row, size stride, size inputs, size outputs,
                        const float *weight, const float *bias, float *out, size out_row, size out_stride, size run,
                        size run_stride, int finish) {
    const Place place = {run, run_stride, outputs};
    for (size first = 0; first < outputs; first += LANES * COLUMNS)
        for (size y = 0; y < height; y++)
            positions(x + y * x_row, width, stride, inputs, weight + first * inputs, bias + first, out + y * out_row,
                      out_stride, first, &place, finish);
}

/* One row of a depthwise layer. x points at the first position's neighbour above and to the left. */
INLINE void depthwise(const int kernel, const float *x, size x_row, size width, size channels, const float *weight,
                      const float *bias, float *out) {
    size c = 0;
    for (; c + LANES <= channels; c += LANES)
        for (size z = 0; z < width; z++) {
            vf sum = LOAD(vf, bias + c);
            UNROLL for (int i = 0; i < kernel; i++)
                UNROLL for (int j = 0; j < kernel; j++)
                    sum += LOAD(vf, x + i * x_row + (z + j) * channels + c) * LOAD(vf, weight + (i * kernel + j) * channels + c);
            STORE(out + z * channels + c, sum);
        }
    for (size z = 0; z < width; z++)
        for (size n = c; n < channels; n++) {
            float sum = bias[n];
            for (int i = 0; i < kernel; i++)
                for (int j = 0; j < kernel; j++)
                    sum += x[i * x_row + (z + j) * channels + n] * weight[(i * kernel + j) * channels + n];
            out[z * channels + n] = sum;
        }
}

/* A residual block, x + second(leaky(first(depthwise(x)))). x and out: planes [height + 2 b, width + 2 b, channels] whose border of
b = kernel / 2 positions is 0; x != out. The scratch: width * 3 channels. */
EXPORT void float_block(const float *x, size height, size width, size channels, int kernel, const float *space,
                        const float *space_bias, const float *first, const float *first_bias, const float *second,
                        const float *second_bias, float *scratch, float *out) {
    const size border = kernel / 2, row = (width + 2 * border) * channels;
    float *seen = scratch, *hidden = scratch + width * channels;
    for (size y = 0; y < height; y++) {
        if (kernel == 3)
            depthwise(3, x + y * row, row, width, channels, space, space_bias, seen);
        else
            depthwise(5, x + y * row, row, width, channels, space, space_bias, seen);
        float_layer(seen, 1, width, 0, channels, channels, 2 * channels, first, first_bias, hidden, 0, 2 * channels, 2 * channels,
                    0, LEAKY);
        const size own = (y + border) * row + border * channels;
        memcpy(out + own, x + own, width * channels * sizeof *x);
        float_layer(hidden, 1, width, 0, 2 * channels, 2 * channels, channels, second, second_bias, out + own, 0, channels, channels,
                    0, ADDED);
    }
}

/* The correction's last layer, for a plane x [height + 2, width + 2, channels] with a border: leaky, a layer of 48 outputs, and each
position's 4 x 4 pixels of 3 colours, times `strength`, are added to the picture. The scratch: width * (channels + 48). */
EXPORT void float_paint(const float *x, size height, size width, size channels, const float *weight, const float *bias,
                        float strength, float *scratch, float *picture, size picture_row) {
    float *active = scratch, *painted = scratch + width * channels;
    for (size y = 0; y < height; y++) {
        const float *from = x + ((y + 1) * (width + 2) + 1) * channels;
        for (size i = 0; i < width * channels; i++) active[i] = from[i] > 0.1f * from[i] ? from[i] : 0.1f * from[i];
        float_layer(active, 1, width, 0, channels, channels, 48, weight, bias, painted, 0, 48, 48, 0, 0);
        for (size i = 0; i < 4; i++)
            for (size z = 0; z < width; z++)
                for (size n = 0; n < 12; n++)
                    picture[(4 * y + i) * picture_row + 12 * z + n] += strength * painted[48 * z + 12 * i + n];
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
