/* The integer half of decoding: layers of the prior, and symbols out of ANS words. FORMAT.md, "Prior" and "Entropy coding".

Every function computes what its NumPy twin in vqbitstream computes, to the bit. Nothing here allocates memory. */

#include "simd.h"

#include <math.h>

enum { INTEGERS, CLAMPED, LEAKY, ADDED }; /* what becomes of a layer's sums */
enum { LIMIT = 127 };

INLINE vi larger(vi a, vi b) {
    const vi mask = a > b;
    return (a & mask) | (b & ~mask);
}

INLINE vi clamp(vi y) { return -larger(-larger(y, (vi){} - LIMIT), (vi){} - LIMIT); }

/* The first `count` lanes of a vector of sums, as they are kept. */
INLINE void finish_vector(vi y, const int finish, const int16_t *add, const size count, void *out) {
    if (finish == INTEGERS) {
        memcpy(out, &y, count * sizeof(int32_t));
        return;
    }
    y = clamp(finish == LEAKY ? larger(y, y >> 3) : y);
    if (finish == ADDED) {
        vs more = {};
        memcpy(&more, add, count * sizeof(int16_t));
        y = clamp(y + __builtin_convertvector(more, vi));
    }
    const vs narrow = __builtin_convertvector(y, vs);
    memcpy(out, &narrow, count * sizeof(int16_t));
}

/* A few rows of a layer, a few vectors of its outputs, of which `left` are left: all of them if whole. */
INLINE void few(const int rows, const int columns, const int whole, const int16_t *x, size inputs, size outputs, size left,
                const int16_t *weight, const int32_t *bias, const int32_t *shift, const int16_t *add, size add_stride,
                const int finish, char *out) {
    const size unit = finish == INTEGERS ? sizeof(int32_t) : sizeof(int16_t);
    vi sum[ROWS][COLUMNS] = {};
    for (size k = 0; k < inputs; k += 2, weight += 2 * LANES * columns) {
        vi w[COLUMNS];
        UNROLL for (int c = 0; c < columns; c++) w[c] = LOAD(vi, weight + 2 * LANES * c);
        UNROLL for (int r = 0; r < rows; r++) {
            const vi both = (vi){} + LOAD(int32_t, x + r * inputs + k);
            UNROLL for (int c = 0; c < columns; c++) sum[r][c] = dot2(sum[r][c], both, w[c]);
        }
    }
    UNROLL for (int c = 0; c < columns; c++) {
        const vi offset = LOAD(vi, bias + LANES * c), bits = LOAD(vi, shift + LANES * c);
        UNROLL for (int r = 0; r < rows; r++)
            finish_vector((sum[r][c] + offset) >> bits, finish, add + r * add_stride + LANES * c,
                          whole ? LANES : MIN(left - LANES * c, LANES), out + (r * outputs + LANES * c) * unit);
    }
}

INLINE void layer(const int16_t *x, size rows, size inputs, size outputs, const int16_t *weight, const int32_t *bias,
                  const int32_t *shift, const int16_t *add, size add_stride, const int finish, char *out) {
    const size unit = finish == INTEGERS ? sizeof(int32_t) : sizeof(int16_t);
    for (size first = 0; first < outputs; first += LANES * COLUMNS) {
        const size left = outputs - first, vectors = MIN((left + LANES - 1) / LANES, COLUMNS);
        const int16_t *panel = weight + first * inputs;
        size row = 0;
#define FEW(rows, columns, whole)                                                                                        \
    few(rows, columns, whole, x + row * inputs, inputs, outputs, left, panel, bias + first, shift + first,                \
        add + row * add_stride + first, add_stride, finish, out + (row * outputs + first) * unit)
        for (; row + ROWS <= rows; row += ROWS)
            switch (2 * vectors + (left >= LANES * vectors)) {
            case 2: FEW(ROWS, 1, 0); break;
            case 3: FEW(ROWS, 1, 1); break;
            case 4: FEW(ROWS, 2, 0); break;
            case 5: FEW(ROWS, 2, 1); break;
            case 6: FEW(ROWS, 3, 0); break;
            default: FEW(ROWS, 3, 1);
            }
        for (; row < rows; row++)
            switch (vectors) {
            case 1: FEW(1, 1, 0); break;
            case 2: FEW(1, 2, 0); break;
            default: FEW(1, 3, 0);
            }
#undef FEW
    }
}

/* A layer over rows: x [rows, inputs], inputs even; weight in panels of pairs of inputs; bias and shift padded to whole vectors.
out [rows, outputs]: int32 of INTEGERS, else int16. ADDED adds `add`, whose rows are add_stride apart. */
EXPORT void prior_layer(const int16_t *x, size rows, size inputs, size outputs, const int16_t *weight, const int32_t *bias,
                        const int32_t *shift, const int16_t *add, size add_stride, int finish, void *out) {
    switch (finish) {
    case INTEGERS: layer(x, rows, inputs, outputs, weight, bias, shift, add, 0, INTEGERS, out); break;
    case CLAMPED: layer(x, rows, inputs, outputs, weight, bias, shift, add, 0, CLAMPED, out); break;
    case LEAKY: layer(x, rows, inputs, outputs, weight, bias, shift, add, 0, LEAKY, out); break;
    default: layer(x, rows, inputs, outputs, weight, bias, shift, add, add_stride, ADDED, out);
    }
}

/* A depthwise 3x3 layer, clamped: x and out [height, width, channels]; weight int16 [9, padded], bias and shift [padded], where
padded is channels in whole vectors. */
EXPORT void prior_depthwise(const int16_t *x, size height, size width, size channels, const int16_t *weight,
                            const int32_t *bias, const int32_t *shift, int16_t *out) {
    const size padded = (channels + LANES - 1) / LANES * LANES;
    for (size c = 0; c < channels; c += LANES) {
        const size count = MIN(channels - c, LANES);
        vi w[9];
        for (int n = 0; n < 9; n++) w[n] = __builtin_convertvector(LOAD(vs, weight + n * padded + c), vi);
        const vi offset = LOAD(vi, bias + c), bits = LOAD(vi, shift + c);
        for (size y = 0; y < height; y++)
            for (size z = 0; z < width; z++) {
                vi sum = offset;
                UNROLL for (int n = 0; n < 9; n++) {
                    const size down = y + n / 3 - 1, right = z + n % 3 - 1;
                    if (down < 0 || down >= height || right < 0 || right >= width) continue;
                    const int16_t *from = x + (down * width + right) * channels + c;
                    vs near = {};
                    if (count == LANES)
                        near = LOAD(vs, from);
                    else
                        memcpy(&near, from, count * sizeof *from);
                    sum += w[n] * __builtin_convertvector(near, vi);
                }
                finish_vector(sum >> bits, CLAMPED, NULL, count, out + (y * width + z) * channels + c);
            }
    }
}

/* floor(value * column * row + 1/2), within +-limit. values [n, channels], whose rows are `stride` apart and which are first brought
within +-most; rows may be NULL; out [n, channels]. The products of doubles are exact. */
EXPORT void prior_scale(const int32_t *values, size n, size channels, size stride, int32_t most, const double *columns,
                        const double *rows, double limit, int32_t *out) {
    for (size i = 0; i < n; i++) {
        const double row = rows ? rows[i] : 1;
        for (size c = 0; c < channels; c++) {
            int32_t value = values[i * stride + c];
            value = value > most ? most : value;
            value = value < -most ? -most : value;
            double scaled = floor(value * columns[c] * row + 0.5);
            scaled = scaled > limit ? limit : scaled;
            out[i * channels + c] = (int32_t)(scaled < -limit ? -limit : scaled);
        }
    }
}

/* Decode a batch of symbols; see entropy.py.

tables [n] names the table of each symbol. bounds [count, symbols + 1] are those of the format. Of table t, starts[257 t + j] is the symbol
that owns the number 2^16 j, and usual[t] the likeliest one. coder: the ANS state, and how many words are left. The scratch: order [n],
begins [count + 1]. Returns 0, or 1 if there is no such table. */
EXPORT int ans_read(const uint16_t *tables, size n, size count, size symbols, const uint32_t *bounds, const uint16_t *starts,
                    const uint16_t *usual, const uint32_t *words, uint64_t *coder, int32_t *order, int32_t *begins,
                    uint16_t *out) {
    memset(begins, 0, (count + 1) * sizeof *begins);
    for (size i = 0; i < n; i++) {
        if (tables[i] >= count) return 1;
        begins[tables[i] + 1]++;
    }
    for (size t = 0; t < count; t++) begins[t + 1] += begins[t];
    for (size i = 0; i < n; i++) order[begins[tables[i]]++] = (int32_t)i; /* begins[t] becomes the end of table t */

    uint64_t state = coder[0], left = coder[1];
    for (size t = 0, at = 0; t < count; t++) {
        const uint32_t *bound = bounds + t * (symbols + 1);
        const uint16_t *start = starts + t * 257;
        const uint32_t likely = usual[t], low = bound[likely], width = bound[likely + 1] - low;
        for (; at < begins[t]; at++) {
            const uint32_t quantile = state & 0xffffff;
            uint32_t found = likely;
            if (quantile - low >= width) {
                found = start[quantile >> 16];
                for (uint32_t end = start[(quantile >> 16) + 1]; found < end;) {
                    const uint32_t middle = (found + end + 1) / 2;
                    if (bound[middle] <= quantile)
                        found = middle;
                    else
                        end = middle - 1;
                }
            }
            state = (state >> 24) * (bound[found + 1] - bound[found]) + quantile - bound[found];
            if (state >> 32 == 0 && left) state = state << 32 | words[--left];
            out[order[at]] = (uint16_t)found;
        }
    }
    coder[0] = state, coder[1] = left;
    return 0;
}
