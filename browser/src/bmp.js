/** Pixels as a BMP file, which every browser shows: a header, and the pixels as they are. */

const HEADER_BYTES = 14 + 108; // of the file, and of the picture: BITMAPV4HEADER, which knows alpha

/**
 * @param {{width: number, height: number, pixels: Uint8ClampedArray}} picture RGBA.
 * @returns {Blob}
 */
export function toBmp({ width, height, pixels }) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  view.setUint16(0, 0x424d); // "BM"
  view.setUint32(2, HEADER_BYTES + pixels.length, true);
  view.setUint32(10, HEADER_BYTES, true);
  view.setUint32(14, 108, true);
  view.setInt32(18, width, true);
  view.setInt32(22, -height, true); // from top to bottom
  view.setUint16(26, 1, true);
  view.setUint16(28, 32, true);
  view.setUint32(30, 3, true); // the masks say where the colours are
  view.setUint32(34, pixels.length, true);
  [0xff, 0xff00, 0xff0000, 0xff000000].forEach((mask, i) => view.setUint32(54 + 4 * i, mask, true));
  view.setUint32(70, 0x73524742, true); // sRGB
  return new Blob([view, pixels], { type: "image/bmp" });
}
