/** The inverse transforms of lossless WebP (RFC 9649, section 4). Pixels are uint32: alpha, red, green and blue from the highest byte. */

const [PREDICTOR, COLOUR, GREEN] = [0, 1, 2]; // and the palette, 3
const BLACK = 0xff000000;

function add(a, b) {
  return (((a & 0xff00ff00) + (b & 0xff00ff00)) & 0xff00ff00) | (((a & 0x00ff00ff) + (b & 0x00ff00ff)) & 0x00ff00ff);
}

function mean(a, b) {
  return (((a ^ b) & 0xfefefefe) >>> 1) + (a & b);
}

/** f of the four channels of three colours, clipped to 0..255. */
function each(a, b, c, f) {
  let out = 0;
  for (let shift = 0; shift < 32; shift += 8) {
    const value = f((a >>> shift) & 255, (b >>> shift) & 255, (c >>> shift) & 255);
    out |= Math.max(0, Math.min(value, 255)) << shift;
  }
  return out;
}

function apart(a, b) {
  let sum = 0;
  for (let shift = 0; shift < 32; shift += 8) sum += Math.abs(((a >>> shift) & 255) - ((b >>> shift) & 255));
  return sum;
}

/** From the pixels at the left, above, above right, and above left. */
const PREDICTORS = [
  () => BLACK,
  (l) => l,
  (l, t) => t,
  (l, t, tr) => tr,
  (l, t, tr, tl) => tl,
  (l, t, tr) => mean(mean(l, tr), t),
  (l, t, tr, tl) => mean(l, tl),
  (l, t) => mean(l, t),
  (l, t, tr, tl) => mean(tl, t),
  (l, t, tr) => mean(t, tr),
  (l, t, tr, tl) => mean(mean(l, tl), mean(t, tr)),
  (l, t, tr, tl) => (apart(t, tl) < apart(l, tl) ? l : t),
  (l, t, tr, tl) => each(l, t, tl, (a, b, c) => a + b - c),
  (l, t, tr, tl) => each(mean(l, t), tl, 0, (a, b) => a + Math.trunc((a - b) / 2)),
  () => BLACK,
  () => BLACK,
];

function undoPredictor({ width, height, shift, image }, pixels) {
  const across = Math.ceil(width / (1 << shift));
  pixels[0] = add(pixels[0], BLACK);
  for (let x = 1; x < width; x++) pixels[x] = add(pixels[x], pixels[x - 1]);
  for (let y = 1; y < height; y++) {
    let at = y * width;
    pixels[at] = add(pixels[at], pixels[at - width]);
    at++;
    for (let x = 1; x < width; x++, at++) {
      const predictor = PREDICTORS[(image[(y >> shift) * across + (x >> shift)] >>> 8) & 15];
      const guess = predictor(pixels[at - 1], pixels[at - width], pixels[at - width + 1], pixels[at - width - 1]);
      pixels[at] = add(pixels[at], guess);
    }
  }
  return pixels;
}

function signed(byte) {
  return (byte << 24) >> 24;
}

function undoColour({ width, height, shift, image }, pixels) {
  const across = Math.ceil(width / (1 << shift));
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      const factors = image[(y >> shift) * across + (x >> shift)];
      const pixel = pixels[at];
      const green = signed(pixel >>> 8);
      const red = ((pixel >>> 16) + ((signed(factors) * green) >> 5)) & 255;
      const blue = (pixel + ((signed(factors >>> 8) * green) >> 5) + ((signed(factors >>> 16) * signed(red)) >> 5)) & 255;
      pixels[at] = (pixel & 0xff00ff00) | (red << 16) | blue;
    }
  return pixels;
}

function undoGreen(pixels) {
  for (let at = 0; at < pixels.length; at++) {
    const green = (pixels[at] >>> 8) & 255;
    pixels[at] = add(pixels[at], (green << 16) | green);
  }
  return pixels;
}

/** Green is an index, or 2^shift of them; the first is in the lowest bits. */
function undoPalette({ width, height, shift, image }, pixels) {
  const out = new Uint32Array(width * height);
  const packed = Math.ceil(width / (1 << shift));
  const size = 8 >> shift;
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      const green = (pixels[y * packed + (x >> shift)] >>> 8) & 255;
      const index = (green >> (size * (x & ((1 << shift) - 1)))) & ((1 << size) - 1);
      out[at] = index < image.length ? image[index] : 0;
    }
  return out;
}

/**
 * @param {{kind: number, width: number, height: number, shift: number, image: Uint32Array | null}} transform width, height: of the result.
 *     shift, image: its own picture, one pixel for 2^shift of the result's, or the palette.
 * @param {Uint32Array} pixels May be changed.
 * @returns {Uint32Array}
 */
export function undo(transform, pixels) {
  if (transform.kind === PREDICTOR) return undoPredictor(transform, pixels);
  if (transform.kind === COLOUR) return undoColour(transform, pixels);
  return transform.kind === GREEN ? undoGreen(pixels) : undoPalette(transform, pixels);
}
