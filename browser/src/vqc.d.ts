/** Types of the package. */

export interface Header {
  readonly width: number;
  readonly height: number;
  readonly grey: boolean;
  readonly alpha: boolean;
  /** The file has exact pixels. */
  readonly exact: boolean;
  readonly single: boolean;
  /** 1..100, or 0 if unknown. */
  readonly quality: number;
  readonly stepCode: number;
  /** 0 psnr, 1 eye. */
  readonly tune: number;
  /** 16 hexadecimal digits. */
  readonly modelId: string;
  /** 0 if all pixels are exact. */
  readonly layers: number;
  readonly tiles: number;
}

export interface SectionInfo {
  readonly what: string;
  readonly layer?: number;
  readonly tile?: number;
  readonly bytes: number;
}

export type Metadata = Partial<Record<"icc" | "exif" | "xmp", Uint8Array>>;

/** RGBA, not premultiplied, row by row. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8ClampedArray;
}

export interface DecodedPicture extends Pixels {
  readonly header: Header;
  readonly metadata: Metadata;
}

export interface ShownPicture extends DecodedPicture {
  readonly layers: number;
  readonly sections: readonly SectionInfo[];
  /** Why something is missing, with the option `partial`. */
  readonly incomplete?: string;
}

export interface LimitOptions {
  maxPixels?: number;
  maxSidePx?: number;
  maxFileBytes?: number;
  maxLayers?: number;
  maxMetadataBytes?: number;
}

export class Limits {
  constructor(others?: LimitOptions);
  maxPixels: number;
  maxSidePx: number;
  maxFileBytes: number;
  maxLayers: number;
  maxMetadataBytes: number;
}

/** The only exception that a bad file can raise. */
export class VQCError extends Error {}
export class CorruptError extends VQCError {}
export class TruncatedError extends CorruptError {}
export class UnsupportedError extends VQCError {}
export class LimitError extends VQCError {}
export class ModelError extends VQCError {}

/** How this page decodes; `<meta name="vqc-weights">` and `<meta name="vqc-max-pixels">` do the same. */
export function configure(options: { weights?: string; limits?: LimitOptions }): void;

/**
 * Decode in a worker. `partial`: of a file that is cut or damaged, give the layers before that place. `preview` is called with each
 * picture that can be shown, the last included.
 */
export function decode(
  source: string | Uint8Array,
  options?: { layers?: number; partial?: boolean; signal?: AbortSignal; preview?: (picture: ShownPicture) => void },
): Promise<ShownPicture>;

export interface Model {
  readonly id: string;
  readonly sizes: Readonly<Record<string, number | number[]>>;
  readonly tensors: Readonly<Record<string, ArrayLike<number>>>;
}

/** Read a weights file. Throws ModelError if it is damaged, or not the expected model. */
export function readModel(bytes: Uint8Array, expected?: string): Promise<Model>;

/** The fastest kernels that this machine compiles, or null. `read` gets the bytes of a .wasm file of the package. */
export function compileKernels(read: (name: string) => BufferSource | Promise<BufferSource>): Promise<WebAssembly.Module | null>;

export class Decoder {
  constructor(model: Model, kernels?: WebAssembly.Module | null);
  readonly modelId: string;
  readonly layers: number;
  /** Decode a whole file. Throws VQCError. */
  decode(bytes: Uint8Array, options?: { layers?: number; limits?: Limits }): DecodedPicture;
  /** A file that will arrive in pieces. */
  open(limits?: Limits): Picture;
}

export class Picture {
  /** A file without layers (all pixels exact) needs no decoder. */
  constructor(decoder: Decoder | null, limits?: Limits);
  readonly header: Header | null;
  /** Whether the first layer, alpha and the exact pixels are there, as far as the file has them. */
  readonly showable: boolean;
  /** Number of layers that are whole. */
  readonly ready: number;
  readonly metadata: Metadata;
  readonly sections: readonly SectionInfo[];
  /** More bytes, decoded as far as they go. Throws VQCError. */
  push(chunk: Uint8Array): void;
  /** Throws TruncatedError if the file is not whole. */
  close(): void;
  /** Nothing more will come: make what is there showable. Returns whether that is anything. */
  salvage(): boolean;
  strips(layers?: number): Generator<Pixels & { readonly x: number; readonly y: number }>;
  render(layers?: number): DecodedPicture;
}

export const HEADER_BYTES: 36;
export function readHeader(bytes: Uint8Array, limits: Limits): Header;

/** `<vqc-img>`. Events: "load", "error" (an ErrorEvent), and "layer" (detail: {layers, whole}). */
export class VQCImage extends HTMLElement {
  src: string;
  alt: string;
  readonly naturalWidth: number;
  readonly naturalHeight: number;
  readonly complete: boolean;
  readonly header: Header | null;
  readonly layersShown: number;
  readonly sections: readonly SectionInfo[];
  readonly error?: VQCError | null;
  /** Why something is missing, with the attribute `partial`. */
  readonly incomplete: string | null;
  show(bytes: Uint8Array): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "vqc-img": VQCImage;
  }
}
