/** Caps that are checked against the header before anything is allocated. */

import { LimitError } from "./errors.js";

/** What a reader accepts. `new Limits({maxPixels: 1e6})` lowers one of them. */
export class Limits {
  maxPixels = 128_000_000;
  maxSidePx = 65_535;
  maxFileBytes = 2 ** 30;
  maxLayers = 64;
  maxMetadataBytes = 2 ** 24; // of ICC profile, EXIF and XMP, each, uncompressed

  constructor(others = {}) {
    for (const [name, value] of Object.entries(others)) {
      if (!(name in this)) throw new TypeError(`no limit is called ${name}`);
      this[name] = value;
    }
  }

  /** Throws LimitError if a picture of this size is too large. */
  checkSize(width, height) {
    if (Math.max(width, height) > this.maxSidePx)
      throw new LimitError(`${width}x${height}: a side is longer than the limit of ${this.maxSidePx} pixels`);
    if (width * height > this.maxPixels)
      throw new LimitError(`${width}x${height} is ${width * height} pixels, over the limit of ${this.maxPixels}`);
  }

  /** Throws LimitError if a file of this many bytes is too large. */
  checkFile(fileBytes) {
    if (fileBytes > this.maxFileBytes)
      throw new LimitError(`file of ${fileBytes} bytes, over the limit of ${this.maxFileBytes}`);
  }

  /** Throws LimitError if a file has too many layers. */
  checkLayers(layers) {
    if (layers > this.maxLayers) throw new LimitError(`${layers} layers, over the limit of ${this.maxLayers}`);
  }
}
