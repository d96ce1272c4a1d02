/* Calls the kernels of the browser with random shapes and numbers, in buffers of exactly the size that src/kernels.js gives them, and compares
the results with plain loops: sh browser/kernels/sanitized/run.sh [ROUNDS] [SEED]. */

#include <stdio.h>
#include <stdlib.h>

#include "../kernels.c"

static uint64_t state;

static int below(int n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (uint64_t)n);
}

static int between(int low, int high) { return low + below(high - low + 1); }

static float number(void) {
    static const float odd[] = {0, -0.0f, INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-42f};
    return below(400) ? (float)between(-4000, 4000) / 1000 : odd[below(8)];
}

#define NEW(type, name, count, value)                                                                                  \
    type *name = malloc(sizeof(type) * (size_t)(count));                                                               \
    for (int i = 0; i < (count); i++) name[i] = (type)(value)

static void expect(double found, double expected, double tolerance, const char *what) {
    if (isnan(expected) || isinf(expected) || fabs(expected) > 1e30 || fabs(found - expected) <= tolerance) return;
    fprintf(stderr, "%s: %g instead of %g\n", what, found, expected);
    exit(1);
}

static int finished(int sum, int shift, int finish, int add) {
    int y = sum >> shift;
    if (finish == INTEGERS) return y;
    if (finish == LEAKY && y >> 3 > y) y >>= 3;
    y = clipped(y, -127, 127);
    return finish == ADDED ? clipped(y + add, -127, 127) : y;
}

static void integer_layers(void) {
    const int rows = between(1, 9), inputs = 2 * between(1, 40), outputs = 4 * between(1, 12), finish = below(4);
    const int stride = inputs + 2 * below(4), add_stride = below(2) ? outputs : 0, unit = finish == INTEGERS ? 4 : 2;
    NEW(int16_t, x, (rows - 1) * stride + inputs, between(-127, 127));
    NEW(int16_t, weight, inputs * outputs, between(-127, 127)); /* the bounds of FORMAT.md: every sum is below 2^24 */
    NEW(int32_t, bias, outputs, between(-(1 << 22), 1 << 22));
    NEW(int32_t, shift, outputs, between(0, 20));
    NEW(int16_t, add, (rows - 1) * add_stride + outputs, between(-127, 127));
    NEW(char, out, rows * outputs * unit, 0);
    integer_layer(x, rows, inputs, stride, outputs, weight, bias, shift, finish == ADDED ? add : NULL, add_stride, finish, out);
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < outputs; o++) {
            const int first = o / 12 * 12, panel = MIN(12, outputs - first);
            int sum = bias[o];
            for (int k = 0; k < inputs; k++)
                sum += x[r * stride + k] * weight[first * inputs + (k / 2 * panel + o - first) * 2 + k % 2];
            const int at = r * outputs + o, found = unit == 4 ? ((int32_t *)out)[at] : ((int16_t *)out)[at];
            expect(found, finished(sum, shift[o], finish, add[r * add_stride + o]), 0, "integer_layer");
        }
    free(x), free(weight), free(bias), free(shift), free(add), free(out);
}

static void integer_depthwises(void) {
    const int height = between(1, 6), width = between(1, 6), channels = 4 * between(1, 9);
    NEW(int16_t, x, height * width * channels, between(-127, 127));
    NEW(int16_t, weight, 9 * channels, between(-127, 127));
    NEW(int32_t, bias, channels, between(-(1 << 22), 1 << 22));
    NEW(int32_t, shift, channels, between(0, 20));
    NEW(int16_t, out, height * width * channels, 0);
    integer_depthwise(x, height, width, channels, weight, bias, shift, out);
    for (int i = 0; i < height * width * channels; i++) {
        const int c = i % channels, z = i / channels % width, y = i / channels / width;
        int sum = bias[c];
        for (int n = 0; n < 9; n++) {
            const int down = y + n / 3 - 1, right = z + n % 3 - 1;
            if (down >= 0 && down < height && right >= 0 && right < width)
                sum += weight[n * channels + c] * x[(down * width + right) * channels + c];
        }
        expect(out[i], finished(sum, shift[c], CLAMPED, 0), 0, "integer_depthwise");
    }
    free(x), free(weight), free(bias), free(shift), free(out);
}

static void float_layers(void) {
    const int height = between(1, 4), width = between(1, 8), seen = between(1, 30), inputs = seen + below(3), finish = below(4);
    const int run = 4 * between(1, 6), runs = between(1, 4), outputs = run * runs, x_stride = seen + below(3);
    const int x_row = width * x_stride + below(4), out_stride = run, run_stride = width * run, out_row = runs * run_stride;
    NEW(float, x, (height - 1) * x_row + (width - 1) * x_stride + seen, number());
    NEW(float, weight, inputs * outputs, number());
    NEW(float, bias, outputs, number());
    NEW(float, out, height * out_row, (float)(i % 7)); /* depth to space: each run of outputs goes to its own row */
    float_layer(x, height, width, x_row, x_stride, seen, inputs, outputs, weight, bias, out, out_row, out_stride, run, run_stride, finish);
    for (int i = 0; i < height * width * outputs; i++) {
        const int o = i % outputs, z = i / outputs % width, y = i / outputs / width;
        const int first = o / 12 * 12, panel = MIN(12, outputs - first), to = y * out_row + z * out_stride + o / run * run_stride + o % run;
        double sum = bias[o], size = fabs(sum);
        for (int k = 0; k < seen; k++) {
            const double product = (double)x[y * x_row + z * x_stride + k] * weight[first * inputs + k * panel + o - first];
            sum += product;
            size += fabs(product);
        }
        if (finish & FLOAT_LEAKY) sum = fmax(sum, sum * 0.1f);
        if (finish & FLOAT_ADDED) sum += to % 7;
        expect(out[to], size < 1e30 ? sum : NAN, 1e-4 * (1 + size), "float_layer");
    }
    free(x), free(weight), free(bias), free(out);
}

static void float_others(void) {
    const int width = between(1, 9), channels = 4 * between(1, 9), x_row = (width + 2) * channels, grey = below(2);
    NEW(float, x, 3 * x_row, number());
    NEW(float, weight, 9 * channels, number());
    NEW(float, bias, channels, number());
    NEW(float, out, width * channels, 0);
    float_depthwise(x, x_row, width, channels, weight, bias, out);
    float_add(x, 0.3f, out, width * channels);
    float_leaky(out, width * channels);
    for (int i = 0; i < width * channels; i++) {
        const int c = i % channels, z = i / channels;
        double sum = bias[c], size = fabs(sum);
        for (int n = 0; n < 9; n++) {
            const double product = (double)x[n / 3 * x_row + (z + n % 3) * channels + c] * weight[n * channels + c];
            sum += product;
            size += fabs(product);
        }
        sum += 0.3 * x[i];
        size += fabs(x[i]);
        expect(out[i], size < 1e30 ? fmax(sum, 0.1 * sum) : NAN, 1e-4 * (1 + size), "float_depthwise");
    }
    NEW(float, from, 3 * width + 1, number() / 4);
    NEW(uint32_t, levels, width, 0);
    float_levels(from, width, grey, levels);
    for (int i = 0; i < 3 * width && !grey; i++)
        expect(levels[i / 3] >> 8 * (i % 3) & 255, fmin(fmax(rint((from[i] + 0.5) * 255), 0), from[i] + 0.5 < 1e6 ? 255 : NAN), 1, "float_levels");
    free(x), free(weight), free(bias), free(out), free(from), free(levels);
}

int main(int count, char **arguments) {
    const long rounds = count > 1 ? atol(arguments[1]) : 1000;
    state = count > 2 ? (uint64_t)atol(arguments[2]) : 1;
    for (long round = 0; round < rounds; round++) integer_layers(), integer_depthwises(), float_layers(), float_others();
    printf("%ld rounds\n", rounds);
}
