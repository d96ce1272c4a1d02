/**
 * Shows .vqc pictures in a page: `<script type="module" src="vqc.js"></script>`, then `<vqc-img src="photo.vqc">` or plain `<img>`.
 * In Node and in workers it is a library: `readModel`, `Decoder`.
 */

import { define } from "./element.js";
import { upgradeImages } from "./upgrade.js";

export { configure, decode } from "./client.js";
export { Decoder, Picture } from "./decoder.js";
export { VQCImage } from "./element.js";
export { CorruptError, LimitError, ModelError, TruncatedError, UnsupportedError, VQCError } from "./errors.js";
export { HEADER_BYTES, readHeader } from "./header.js";
export { compileKernels } from "./kernels.js";
export { Limits } from "./limits.js";
export { readModel } from "./weights.js";

if (globalThis.document && globalThis.customElements) {
  define();
  upgradeImages();
}
