/* Parts of the encoder's distortion in float32, with slopes. Their twins in PyTorch are in vqcodec.vqvae: distortion, structural, visible
and bands. Planes are contiguous. Nothing here allocates memory. */

#include "series.h"

enum { CHUNK = 512 }; /* pixels whose values stay in the nearest cache */

INLINE double sum_of(const float *x, size n) {
    vf sums = {};
    size i = 0;
    for (; i + LANES <= n; i += LANES) sums += LOAD(vf, x + i);
    double total = 0;
    for (int lane = 0; lane < LANES; lane++) total += sums[lane];
    for (; i < n; i++) total += x[i];
    return total;
}

/* sRGB in [-0.5, 0.5] to linear light in [0, 1], clipped, and its slope. */
EXPORT void distortion_light(size n, const float *x, float *light, float *slope) {
    IVDEP for (size i = 0; i < n; i++) {
        const float value = x[i] + 0.5f, held = value < 0 ? 0 : value > 1 ? 1 : value, shifted = (held + 0.055f) * (1 / 1.055f);
        const float bright = power_of_2(2.4f / LN2 * natural_log(shifted)), inside = held == value ? 1 : 0;
        const float bright_slope = 2.4f / 1.055f * bright / shifted;
        light[i] = held <= 0.04045f ? held * (1 / 12.92f) : bright;
        slope[i] = inside * (held <= 0.04045f ? 1 / 12.92f : bright_slope);
    }
}

/* ---- vqcodec.vqvae.structural ---- */

typedef struct {
    float absorbance[9], bias, opponent[9], offset[3];
} colours;

/* Linear RGB to XYB. light, xyb: [3, n] */
EXPORT void distortion_xyb(size n, const float *light, const colours *c, float *xyb) {
    const float *a = c->absorbance, *o = c->opponent;
    IVDEP for (size i = 0; i < n; i++) {
        const float r = light[i], g = light[n + i], b = light[2 * n + i];
        const float l = cube_root(a[0] * r + a[1] * g + a[2] * b + c->bias);
        const float m = cube_root(a[3] * r + a[4] * g + a[5] * b + c->bias);
        const float s = cube_root(a[6] * r + a[7] * g + a[8] * b + c->bias);
        xyb[i] = o[0] * l + o[1] * m + o[2] * s + c->offset[0];
        xyb[n + i] = o[3] * l + o[4] * m + o[5] * s + c->offset[1];
        xyb[2 * n + i] = o[6] * l + o[7] * m + o[8] * s + c->offset[2];
    }
}

/* Slopes by light from those by XYB. */
EXPORT void distortion_xyb_back(size n, const float *light, const colours *c, const float *by_xyb, float *by_light) {
    const float *a = c->absorbance, *o = c->opponent;
    IVDEP for (size i = 0; i < n; i++) {
        const float r = light[i], g = light[n + i], b = light[2 * n + i];
        const float x = by_xyb[i] * (1 / 3.f), y = by_xyb[n + i] * (1 / 3.f), z = by_xyb[2 * n + i] * (1 / 3.f);
        const float l = cube_root(a[0] * r + a[1] * g + a[2] * b + c->bias);
        const float m = cube_root(a[3] * r + a[4] * g + a[5] * b + c->bias);
        const float s = cube_root(a[6] * r + a[7] * g + a[8] * b + c->bias);
        const float by_l = (o[0] * x + o[3] * y + o[6] * z) / (l * l);
        const float by_m = (o[1] * x + o[4] * y + o[7] * z) / (m * m);
        const float by_s = (o[2] * x + o[5] * y + o[8] * z) / (s * s);
        by_light[i] = a[0] * by_l + a[3] * by_m + a[6] * by_s;
        by_light[n + i] = a[1] * by_l + a[4] * by_m + a[7] * by_s;
        by_light[2 * n + i] = a[2] * by_l + a[5] * by_m + a[8] * by_s;
    }
}

/* What is blurred: y, its square, and its product with the original. y, original: [n]; out: [3, n] */
EXPORT void distortion_products(size n, const float *y, const float *original, float *out) {
    IVDEP for (size i = 0; i < n; i++) {
        out[i] = y[i];
        out[n + i] = y[i] * y[i];
        out[2 * n + i] = original[i] * y[i];
    }
}

/* Adds the slopes by y, from those by the products. */
EXPORT void distortion_products_back(size n, const float *y, const float *original, const float *by_products, float *by_y) {
    IVDEP for (size i = 0; i < n; i++)
        by_y[i] += by_products[i] + 2 * y[i] * by_products[n + i] + original[i] * by_products[2 * n + i];
}

typedef struct {
    const float *y, *mean, *square, *product;             /* of the decoded picture, its square, and its product with the original */
    const float *original_mean, *original_spread, *edges; /* see structural.Reference */
    float c2;
} plane;

typedef struct {
    float level, shared, spread, likeness, edge;
} likeness;

INLINE likeness compared(const plane *p, size i) {
    const float mean = p->mean[i], apart = p->original_mean[i] - mean, level = 1 - apart * apart;
    const float shared = 2 * (p->product[i] - p->original_mean[i] * mean) + p->c2;
    const float spread = p->original_spread[i] + p->square[i] - mean * mean;
    return (likeness){level, shared, spread, level * shared / spread, (fabsf(p->y[i] - mean) + 1) / p->edges[i] - 1};
}

INLINE float above_0(float x) { return x > 0 ? x : 0; }

/* Sums over a plane of the three maps and of their fourth powers: [map, first or fourth] */
EXPORT void distortion_maps(size n, const plane *p, double *sums) {
    memset(sums, 0, 6 * sizeof *sums);
    float maps[6][CHUNK];
    for (size top = 0; top < n; top += CHUNK) {
        const size count = MIN(CHUNK, n - top);
        IVDEP for (size i = 0; i < count; i++) {
            const likeness found = compared(p, top + i);
            const float lost = above_0(1 - found.likeness), more = above_0(found.edge), less = above_0(-found.edge);
            maps[0][i] = lost, maps[1][i] = lost * lost * lost * lost;
            maps[2][i] = more, maps[3][i] = more * more * more * more;
            maps[4][i] = less, maps[5][i] = less * less * less * less;
        }
        for (int map = 0; map < 6; map++) sums[map] += sum_of(maps[map], count);
    }
}

/* Slopes of what makes of a map's value v the slope w[map][0] + w[map][1] v^3. */
EXPORT void distortion_maps_back(size n, const plane *given, const float *w, float *by_y, float *by_mean, float *by_square,
                                 float *by_product) {
    const plane here = *given, *p = &here;
    const float lost_0 = w[0], lost_3 = w[1], more_0 = w[2], more_3 = w[3], less_0 = w[4], less_3 = w[5];
    IVDEP for (size i = 0; i < n; i++) {
        const likeness found = compared(p, i);
        const float lost = above_0(1 - found.likeness), more = above_0(found.edge), less = above_0(-found.edge);
        const float by_lost = (lost > 0 ? lost_0 : 0) + lost_3 * lost * lost * lost;
        const float by_more = (more > 0 ? more_0 : 0) + more_3 * more * more * more;
        const float by_less = (less > 0 ? less_0 : 0) + less_3 * less * less * less;
        const float apart = p->y[i] - p->mean[i], edge = (by_more - by_less) / p->edges[i];
        const float own = edge * ((apart > 0 ? 1.f : 0.f) - (apart < 0 ? 1.f : 0.f));
        const float by_shared = -by_lost / found.spread, square = -by_shared * found.likeness;
        const float product = 2 * by_shared * found.level;
        by_y[i] = own;
        by_square[i] = square;
        by_product[i] = product;
        /* likeness has the mean in its level, in its shared part and in its spread */
        by_mean[i] = 2 * (p->original_mean[i] - p->mean[i]) * found.shared * by_shared - product * p->original_mean[i] -
                     2 * square * p->mean[i] - own;
    }
}

/* ---- vqcodec.vqvae.visible ---- */

typedef struct {
    float background_min, contrast_max, factor;
} weber;

INLINE float held_above(float x, float least) { return x > least ? x : least; }

/* Contrasts of a band as the eye weighs them, and those that both pictures have. All are [3, n]. */
EXPORT void distortion_contrast(size n, const float *x, const float *wide, const float *sensitivity, const float *original,
                                const weber *given, float *contrast, float *mutual) {
    const weber c = *given;
    for (int k = 0; k < 3; k++) IVDEP for (size i = 0, at = k * n; i < n; i++, at++) {
            const float found = (x[at] - wide[at]) / held_above(wide[i], c.background_min);
            const float seen = (found < c.contrast_max ? found : c.contrast_max) * c.factor * sensitivity[at];
            const float own = fabsf(seen), other = fabsf(original[at]);
            contrast[at] = seen;
            mutual[at] = own < other ? own : other;
        }
}

/* Slopes by x and by wide, from those by contrasts and by mutual contrasts. */
EXPORT void distortion_contrast_back(size n, const float *x, const float *wide, const float *sensitivity, const float *original,
                                     const weber *given, const float *by_contrast, const float *by_mutual, float *by_x,
                                     float *by_wide) {
    const weber c = *given;
    IVDEP for (size i = 0; i < n; i++) {
        const float background = held_above(wide[i], c.background_min), back = 1 / background;
        float by_background = 0;
        UNROLL for (int k = 0; k < 3; k++) {
            const size at = k * n + i;
            const float found = (x[at] - wide[at]) * back, weight = c.factor * sensitivity[at], own = found * weight;
            const float sign = (own > 0 ? 1.f : 0.f) - (own < 0 ? 1.f : 0.f);
            const float shared = fabsf(own) < fabsf(original[at]) ? by_mutual[at] : 0;
            const float slope = found < c.contrast_max ? (by_contrast[at] + shared * sign) * weight * back : 0;
            by_x[at] = slope;
            by_wide[at] = -slope;
            by_background -= slope * found;
        }
        by_wide[i] += wide[i] > c.background_min ? by_background : 0;
    }
}

typedef struct {
    float mask_p, mask_q[3], mask_c, cross[9], top;
} masking;

typedef struct {
    float base[3], power[3], mask[3];
} masked;

INLINE float power(float x, float exponent) { return power_of_2(exponent / LN2 * natural_log(x)); }

INLINE masked mask_of(const float *mutual, size n, size i, const masking *m) {
    masked out;
    UNROLL for (int k = 0; k < 3; k++) {
        const float base = mutual[k * n + i] * m->mask_c;
        out.base[k] = base > 1e-6f ? base : 1e-6f;
        out.power[k] = power(out.base[k], m->mask_q[k]);
    }
    UNROLL for (int k = 0; k < 3; k++)
        out.mask[k] = 1 + m->cross[k] * out.power[0] + m->cross[3 + k] * out.power[1] + m->cross[6 + k] * out.power[2];
    return out;
}

/* Sums of the squares of the differences as they are seen, [3]. contrast, mutual, original: [3, n] */
EXPORT void distortion_seen(size n, const float *contrast, const float *mutual, const float *original, const masking *m, double *sums) {
    memset(sums, 0, 3 * sizeof *sums);
    float squares[3][CHUNK];
    for (size top = 0; top < n; top += CHUNK) {
        const size count = MIN(CHUNK, n - top);
        IVDEP for (size i = 0; i < count; i++) {
            const masked mask = mask_of(mutual, n, top + i, m);
            UNROLL for (int k = 0; k < 3; k++) {
                const size at = k * n + top + i;
                const float raw = power(fabsf(contrast[at] - original[at]) + 1e-5f, m->mask_p) / mask.mask[k];
                const float seen = m->top * raw / (raw + m->top);
                squares[k][i] = seen * seen;
            }
        }
        for (int k = 0; k < 3; k++) sums[k] += sum_of(squares[k], count);
    }
}

/* Slopes by contrast and by mutual contrast of the sums, each of them times scale[colour]. */
EXPORT void distortion_seen_back(size n, const float *contrast, const float *mutual, const float *original, const masking *m,
                                 const float *scale, float *by_contrast, float *by_mutual) {
    IVDEP for (size i = 0; i < n; i++) {
        const masked mask = mask_of(mutual, n, i, m);
        float by_mask[3];
        UNROLL for (int k = 0; k < 3; k++) {
            const size at = k * n + i;
            const float apart = contrast[at] - original[at], difference = fabsf(apart) + 1e-5f;
            const float raw = power(difference, m->mask_p) / mask.mask[k], share = m->top / (raw + m->top);
            const float by_raw = 2 * scale[k] * raw * share * share * share;
            by_contrast[at] = apart == 0 ? 0 : copysignf(by_raw * raw * m->mask_p / difference, apart);
            by_mask[k] = -by_raw * raw / mask.mask[k];
        }
        UNROLL for (int k = 0; k < 3; k++) {
            const float *cross = m->cross + 3 * k; /* one colour masks all of them */
            const float by_power = cross[0] * by_mask[0] + cross[1] * by_mask[1] + cross[2] * by_mask[2];
            by_mutual[k * n + i] = mask.base[k] > 1e-6f ? by_power * mask.power[k] * m->mask_q[k] * m->mask_c / mask.base[k] : 0;
        }
    }
}

/* ---- vqcodec.vqvae.bands ---- */

typedef struct {
    const int32_t *first; /* [outputs], where the taps of an output begin */
    const float *taps;    /* [outputs, count] */
    int32_t count;
    int32_t from, to; /* outputs from..to have the same taps, `from - first[from]` to their left */
} band;

INLINE void across(const band *b, size width, const float *x, float *out) {
    const size count = b->count, left = b->from - b->first[b->from];
    const float *inner = b->taps + b->from * count;
    size i = b->from;
    for (; i + LANES <= b->to; i += LANES) {
        vf sum = {};
        for (size t = 0; t < count; t++) sum += LOAD(vf, x + i - left + t) * inner[t];
        STORE(out + i, sum);
    }
    for (size j = 0; j < width; j++) {
        if (j == b->from) j = i;
        if (j >= width) break;
        float sum = 0;
        for (size t = 0; t < count; t++) sum += x[b->first[j] + t] * b->taps[j * count + t];
        out[j] = sum;
    }
}

/* A band down the columns and one across the rows of planes [planes, height, width]. Scratch: width. */
EXPORT void distortion_blur(size planes, size height, size width, const float *x, const band *down, const band *along, float *out,
                            float *scratch) {
    for (size plane = 0; plane < planes; plane++)
        for (size row = 0; row < height; row++) {
            const float *from = x + (plane * height + down->first[row]) * width, *taps = down->taps + row * down->count;
            size i = 0;
            for (; i + LANES <= width; i += LANES) {
                vf sum = {};
                for (size t = 0; t < down->count; t++) sum += LOAD(vf, from + t * width + i) * taps[t];
                STORE(scratch + i, sum);
            }
            for (; i < width; i++) {
                float sum = 0;
                for (size t = 0; t < down->count; t++) sum += from[t * width + i] * taps[t];
                scratch[i] = sum;
            }
            across(along, width, scratch, out + (plane * height + row) * width);
        }
}
