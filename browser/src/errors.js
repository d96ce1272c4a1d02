/** Everything that can be wrong with a file. */

/** The only exception that a bad file can raise. The message is one line, for people. */
export class VQCError extends Error {
  constructor(message = "", options) {
    super(message.replace(/[\p{Cc}\s]+/gu, " ").trim(), options);
  }

  get name() {
    return this.constructor.title;
  }

  static title = "VQCError"; // survives a minifier
}

/** The bytes contradict themselves: a checksum, a length or a value that no encoder writes. */
export class CorruptError extends VQCError {
  static title = "CorruptError";
}

/** The file ends before its contents do. */
export class TruncatedError extends CorruptError {
  static title = "TruncatedError";
}

/** A sound file that this decoder cannot read: a newer format version or a model that is not here. */
export class UnsupportedError extends VQCError {
  static title = "UnsupportedError";
}

/** The file or picture exceeds `Limits`. It was refused before anything was allocated. */
export class LimitError extends VQCError {
  static title = "LimitError";
}

/** A weights file is missing, damaged, or another model's. */
export class ModelError extends VQCError {
  static title = "ModelError";
}

const KINDS = { VQCError, CorruptError, TruncatedError, UnsupportedError, LimitError, ModelError };

/** The error that another thread described by its name and message. */
export function revived(name, message) {
  return new (KINDS[name] ?? VQCError)(message);
}
