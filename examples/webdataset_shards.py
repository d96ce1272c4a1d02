"""Encode the pictures of WebDataset shards: tar files in, tar files of the same names, keys and order out.

    python examples/webdataset_shards.py encoded shards/*.tar
    python examples/webdataset_shards.py encoded shards/*.tar --share 3/16   # the fourth of 16 workers, on any machine

In every sample the picture (jpg, png, ...) becomes `vqc`; other fields stay as they are. A picture that cannot be encoded stays too,
and is named on stderr; so is a shard that cannot be read: it is left out, and the exit code is 1. A shard is written under another
name and renamed when whole, so the same command continues a job that was stopped. Needs `pip install ".[cluster]"`.
"""

from __future__ import annotations

import argparse
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import vqcodec

PICTURES = ("jpg", "jpeg", "png", "webp", "avif", "tif", "tiff", "bmp", "ppm")  # not gif: one frame would be kept
Sample = dict[str, Any]  # field -> bytes; the sample's key is in "__key__"


def encoded(sample: Sample, codec: Any, **options: Any) -> Sample:
    """A sample with its pictures encoded: jpg -> vqc, left.jpg -> left.vqc (one, where two would share a name). Raises a VQCError."""
    out: Sample = {}
    for name, value in sample.items():
        stem, dot, suffix = name.rpartition(".")
        renamed = f"{stem}{dot}vqc"
        if suffix.lower() in PICTURES and renamed not in out:
            out[renamed] = codec.encode(BytesIO(value), **options)
        else:
            out[name] = value
    return out


def encode_shard(source: Path, out: Path, codec: Any, **options: Any) -> tuple[int, int]:
    """Write a shard's twin; numbers of samples and of failures."""
    import webdataset

    samples = failures = 0
    partial = out.with_suffix(".partial")
    with partial.open("wb") as file, webdataset.TarWriter(file, encoder=False) as writer:
        for sample in webdataset.WebDataset([str(source)], shardshuffle=False, empty_check=False):
            fields = {k: v for k, v in sample.items() if k == "__key__" or not k.startswith("__")}
            samples += 1
            try:
                fields = encoded(fields, codec, **options)
            except vqcodec.VQCError as error:
                failures += 1
                reason = str(error).removeprefix("the picture: ")
                print(f"{source}: {sample['__key__']}: {reason}", file=sys.stderr)
            writer.write(fields)
    partial.replace(out)
    return samples, failures


def share(text: str) -> tuple[int, int]:
    """'3/16' -> (3, 16)."""
    number, of = (int(part) for part in text.split("/"))
    if not 0 <= number < of:
        raise ValueError(text)
    return number, of


def main() -> None:
    parser = argparse.ArgumentParser(description="Encode the pictures of WebDataset shards.")
    parser.add_argument("out", type=Path, help="folder for the new shards")
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument("--share", type=share, default=(0, 1), metavar="I/N", help="every Nth shard, from the Ith on")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--effort", type=int, default=5)
    arguments = parser.parse_args()
    if len({source.name for source in arguments.shards}) < len(arguments.shards):
        parser.error("two shards have the same name, and so would their twins")

    from vqcodec.runtimes.threads import limit_threads

    limit_threads(1)  # more workers are faster than more threads
    codec = vqcodec.load_model()
    arguments.out.mkdir(parents=True, exist_ok=True)
    begin, samples, failures, broken = time.monotonic(), 0, 0, 0
    number, of = arguments.share
    for source in sorted(arguments.shards)[number::of]:
        out = arguments.out / source.name
        if out.exists():
            continue
        try:
            done, failed = encode_shard(source, out, codec, quality=arguments.quality, effort=arguments.effort)
        except Exception as error:  # whatever the reader raises on a damaged shard; the others go on
            print(f"{source}: {error}", file=sys.stderr)
            broken += 1
        else:
            samples, failures = samples + done, failures + failed
    seconds = time.monotonic() - begin
    print(f"{samples} samples, {failures} failed, {seconds:.1f} s, {samples / max(seconds, 1e-9):.2f} samples/s")
    if broken:
        sys.exit(f"{broken} shards failed")


if __name__ == "__main__":
    main()
