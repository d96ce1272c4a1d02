/* Parts of the encoder's search in float32, with slopes. Their twins in PyTorch are in vqcodec.vqvae. Nothing here allocates memory. */

#include "series.h"

/* ---- Activations: vqcodec.vqvae.grid ---- */

INLINE float widened(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

INLINE uint16_t narrowed(float x) { /* of a number that bfloat16 has */
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* Integers / 32 within 127, after a leaky ReLU of slope 1/8 if `leaky`, in bfloat16; the slope, if it is wanted, is 0, 1/8 or 1. */
EXPORT void search_activation(size n, const uint16_t *x, int leaky, uint16_t *out, uint16_t *slope) {
    const float below = leaky ? 0.125f : 1, lowest = leaky ? -1e30f : -127;
    IVDEP for (size i = 0; i < n; i++) {
        const float given = widened(x[i]), whole = floorf(given * 32 + 0.5f), less = floorf(whole * below);
        const float kept = whole > less ? whole : less, held = kept > 127 ? 127 : kept < -127 ? -127 : kept;
        out[i] = narrowed(held * (1 / 32.f));
    }
    if (!slope) return;
    IVDEP for (size i = 0; i < n; i++) {
        const float given = widened(x[i]), whole = floorf(given * 32 + 0.5f), own = given < 0 ? below : 1;
        slope[i] = narrowed(own * (whole <= 127 ? 1.f : 0.f) * (whole >= lowest ? 1.f : 0.f));
    }
}

/* ---- The rate: vqcodec.vqvae.rate ---- */

#define WIDE_SCALE 11.313709f

typedef struct {
    float bits, by_value, by_scale;
} rated;

/* Bits of the unit cell around x steps under a Laplace distribution, and their slopes. wide_of: peak and log of rate.py. */
INLINE rated rate(float x, float log2_scale, const float *wide_of) {
    const float inverse = power_of_2(-log2_scale), distance = fabsf(x), inner = distance - 0.5f, outer = distance + 0.5f;
    const float inside = inner < 0 ? 1 : 0;
    const float near = power_of_2(-fabsf(inner) * inverse * (1 / LN2)), far = power_of_2(-outer * inverse * (1 / LN2));
    const float wide_log = wide_of[1] - inner * (1 / WIDE_SCALE), wide_mass = power_of_2(wide_log * (1 / LN2));
    const float sloped = (1 - inside) * wide_mass, half = 0.5f * near;
    float mass = half + inside * (1 - near) - 0.5f * far + inside * wide_of[0] + sloped;
    mass = mass > 1e-37f ? mass : 1e-37f;
    const float unit = 0.5f / LN2 / mass;
    const float along = ((near - far) * inverse + 2 / WIDE_SCALE * sloped) * unit;
    const float across = (outer * far - inner * near) * inverse * unit * LN2, logarithm = natural_log(mass);
    return (rated){-1 / LN2 * (logarithm > wide_log ? logarithm : wide_log), x == 0 ? 0 : copysignf(along, x), across};
}

/* ---- The quantiser's choice for a pair: vqcodec.vqvae.quantizer ---- */

typedef struct {
    const float *codebooks;    /* [4][289][2] */
    const int16_t *candidates; /* [4][36][36][7] */
    const float *bits;         /* [130][290] */
    const int16_t *books;      /* [130] */
    float weight;              /* squared steps that a bit is worth */
    float dead_zone, overload; /* steps */
    float wide[2];             /* see `rate` */
} quantiser;

enum { CODEWORDS = 289, SYMBOLS = 290, ZERO = 144, CELLS = 36, CANDIDATES = 7, SCALE_MIN = -192, SINGLE_TOP = 8 };

INLINE float whole_step(float x, float log2_scale, const quantiser *q) {
    const float nearest = floorf(x + 0.5f), inward = nearest - (nearest > 0) + (nearest < 0);
    const float there = (x - inward) * (x - inward) + q->weight * rate(inward, log2_scale, q->wide).bits;
    return there < (x - nearest) * (x - nearest) + q->weight * rate(nearest, log2_scale, q->wide).bits ? inward : nearest;
}

INLINE int cell_of(float x) {
    const int cell = (int)floorf(2 * x);
    return (cell < -CELLS / 2 ? -CELLS / 2 : cell > CELLS / 2 - 1 ? CELLS / 2 - 1 : cell) + CELLS / 2;
}

/* What a pair is coded as, and the grid point whose cell's mass is its rate. Returns 0 for the pairs that take whole steps. */
INLINE int choose(const float *x, const float *log2_scale, const quantiser *q, float *coded, float *cell) {
    const int s = (int)(log2_scale[0] * 32 + 192.5f) - 192, t = (int)(log2_scale[1] * 32 + 192.5f) - 192;
    const float a = fabsf(x[0]), b = fabsf(x[1]), peak = a > b ? a : b;
    coded[0] = coded[1] = cell[0] = cell[1] = 0;
    if ((s > t ? s : t) > SINGLE_TOP || !(peak <= q->overload)) return 0;
    if (peak <= q->dead_zone) return 1;
    const int d = s - t;
    int row = (((s + t) >> 1) - SCALE_MIN) >> 3;
    row = row < 0 ? 0 : row > 25 ? 25 : row;
    const int table = 5 * row + (d > -48) + (d > -16) + (d > 16) + (d > 48), book = q->books[table];
    const int16_t *list = q->candidates + ((book * CELLS + cell_of(x[0])) * CELLS + cell_of(x[1])) * CANDIDATES;
    float least = INFINITY;
    int best = ZERO;
    for (int i = 0; i < CANDIDATES; i++) {
        const float *vector = q->codebooks + 2 * (book * CODEWORDS + list[i]), e = x[0] - vector[0], f = x[1] - vector[1];
        const float cost = e * e + f * f + q->weight * q->bits[table * SYMBOLS + list[i]];
        if (cost < least) least = cost, best = list[i];
    }
    if (best == ZERO) return 1;
    memcpy(coded, q->codebooks + 2 * (book * CODEWORDS + best), 2 * sizeof *coded);
    cell[0] = (float)(best / 17 - 8), cell[1] = (float)(best % 17 - 8);
    return 1;
}

/* The same for a row of c values. whole: scratch. */
INLINE void choose_row(size c, const float *x, const float *log2_scale, const quantiser *q, float *coded, float *cell, float *whole) {
    int single = 1;
    for (size j = 0; j < c; j += 2) {
        const int found = choose(x + j, log2_scale + j, q, coded + j, cell + j);
        whole[j] = whole[j + 1] = found ? 0 : 1;
        single &= found;
    }
    if (single) return;
    IVDEP for (size j = 0; j < c; j++) {
        const float steps = whole[j] * whole_step(x[j], log2_scale[j], q);
        coded[j] += steps;
        cell[j] += steps;
    }
}

/* ---- One pass of the prior over n positions of a group of c channels ---- */

enum { STEP, STEP_BACK, RATIO, LOG2_RATIO, SIGMA_BACK }; /* rows of `channels`, [5, c] */

#define MEAN(x) (floorf((x) * 64 + 0.5f) * (1 / 64.f))
#define CONTEXT_MAX (127 / 32.f)

/* What becomes of latents [n, c] if they are coded: decoded values, what later passes see of them (contexts), and bits.

said: [n, 2c], means and log2-scales as the head computes them, before rounding. gain: [n]. rated: [2, n, c], slopes of the bits by value
and by log2-scale for `search_pass_back`; the first is zero exactly where zero was coded. Scratch: 5 c. Returns the bits. */
EXPORT double search_pass(size n, size c, const float *latent, const float *said, const float *gain, const float *channels,
                          const quantiser *q, float *value, float *context, float *slopes, float *scratch) {
    float *residual = scratch, *scale = scratch + c, *centre = scratch + 2 * c, *coded = scratch + 3 * c, *cell = scratch + 4 * c;
    const float *step = channels + STEP * c, *back = channels + STEP_BACK * c, *ratio = channels + RATIO * c;
    const float *log2_ratio = channels + LOG2_RATIO * c, *sigma_back = channels + SIGMA_BACK * c;
    double total = 0;
    for (size i = 0; i < n; i++) {
        const float own = gain[i], grown = power_of_2(own), shrunk = power_of_2(-own);
        const float *mean = said + 2 * i * c, *width = mean + c, *from = latent + i * c;
        IVDEP for (size j = 0; j < c; j++) {
            const float log2_scale = floorf(width[j] * 32 + 0.5f) * (1 / 32.f) + log2_ratio[j] - own;
            centre[j] = MEAN(mean[j]) * ratio[j] * shrunk;
            residual[j] = from[j] * back[j] * shrunk - centre[j];
            scale[j] = log2_scale < -6 ? -6 : log2_scale > 9 ? 9 : log2_scale;
        }
        choose_row(c, residual, scale, q, coded, cell, context + i * c);
        float *to = value + i * c, *seen = context + i * c, *by_value = slopes + i * c, *by_scale = slopes + (n + i) * c;
        float bits = 0;
        IVDEP for (size j = 0; j < c; j++) {
            const rated cost = rate(cell[j], scale[j], q->wide);
            residual[j] = cost.bits;
            by_value[j] = cost.by_value;
            by_scale[j] = fabsf(scale[j] - 1.5f) < 7.5f ? cost.by_scale : 0; /* where it was not clamped */
            const float y = (centre[j] + coded[j]) * step[j] * grown, half = 0.5f * fabsf(y * sigma_back[j]);
            const float shown = floorf(copysignf(64 * natural_log(half + sqrtf(half * half + 1)), y) + 0.5f) * (1 / 32.f);
            to[j] = y;
            seen[j] = shown > CONTEXT_MAX ? CONTEXT_MAX : shown < -CONTEXT_MAX ? -CONTEXT_MAX : shown;
        }
        for (size j = 0; j < c; j++) bits += residual[j];
        total += bits;
    }
    return total;
}

/* Slopes of the cost by what `search_pass` was given, from those by values and by contexts; `slopes` as `search_pass` left it, for a
cost that counts each bit `bit` times. by_value becomes the slope by the latent, without its own bits. */
EXPORT void search_pass_back(size n, size c, const float *latent, const float *said, const float *gain, const float *channels,
                             const float *value, const float *slopes, float bit, float *by_value, const float *by_context,
                             float *by_said, float *by_gain) {
    const float *step = channels + STEP * c, *back = channels + STEP_BACK * c, *ratio = channels + RATIO * c;
    const float *sigma_back = channels + SIGMA_BACK * c;
    const float seen_max = sinhf(0.5f * (CONTEXT_MAX + 1 / 64.f)); /* of half a companded value */
    for (size i = 0; i < n; i++) {
        const float own = gain[i], grown = power_of_2(own), shrunk = power_of_2(-own);
        const float *mean = said + 2 * i * c, *from = latent + i * c, *at = value + i * c, *through = by_context + i * c;
        const float *rate_by_value = slopes + i * c, *rate_by_scale = slopes + (n + i) * c;
        float *out = by_value + i * c, *by_mean = by_said + 2 * i * c, *by_width = by_mean + c, sum = 0;
        IVDEP for (size j = 0; j < c; j++) {
            const float half = 0.5f * at[j] * sigma_back[j];
            const float seen = fabsf(half) < seen_max ? sigma_back[j] / sqrtf(half * half + 1) : 0;
            const float slope = out[j] + through[j] * seen, own_step = step[j] * grown, rate = bit * rate_by_value[j];
            const int coded = rate_by_value[j] != 0;
            const float centre = MEAN(mean[j]) * ratio[j] * shrunk, by_centre = (coded ? 0 : slope * own_step) - rate;
            const float by_scale = bit * rate_by_scale[j], kept = coded ? slope * own_step + rate : 0;
            const float at_step = from[j] * back[j] * shrunk;
            out[j] = slope;
            by_mean[j] = by_centre * ratio[j] * shrunk;
            by_width[j] = by_scale;
            sum += LN2 * (at[j] * slope - kept * at_step - centre * by_centre) - by_scale;
        }
        by_gain[i] = sum;
    }
}
