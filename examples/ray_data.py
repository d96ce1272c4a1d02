"""Encode pictures on a Ray cluster: files (a folder, a bucket) in, a Parquet data set of .vqc files out.

    python examples/ray_data.py photos encoded --workers 2

Every worker process loads the model once and works on one core. A row is path, vqc (the file's bytes; null if it failed) and error.
A bad picture costs its own row only. Needs `pip install ".[cluster]"`.
"""

from __future__ import annotations

import argparse
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vqcodec

if TYPE_CHECKING:
    import pyarrow

# Of a core, as Ray reckons: encoders must leave room for reading and writing, or all wait for ever
ENCODER_CPUS, FILE_CPUS = 0.8, 0.1


class Encoder:
    """What a worker keeps: a loaded model. Ray makes one in each process and calls it with batches."""

    def __init__(self, quality: float, effort: int) -> None:
        from vqcodec.runtimes.threads import limit_threads

        limit_threads(1)  # Ray counts on one core a worker
        self.codec, self.options = vqcodec.load_model(), {"quality": quality, "effort": effort}

    def __call__(self, batch: dict[str, Any]) -> pyarrow.Table:
        """Columns path (str) and bytes -> path, vqc, error."""
        import pyarrow

        results = [self.encode(data) for data in batch["bytes"]]
        return pyarrow.table(
            {
                "path": pyarrow.array(batch["path"], pyarrow.string()),
                "vqc": pyarrow.array([vqc for vqc, _ in results], pyarrow.large_binary()),
                "error": pyarrow.array([error for _, error in results], pyarrow.string()),
            }
        )

    def encode(self, data: bytes) -> tuple[bytes | None, str | None]:
        try:
            return self.codec.encode(BytesIO(data), **self.options), None
        except vqcodec.VQCError as error:
            return None, str(error).removeprefix("the picture: ")


def main() -> None:
    parser = argparse.ArgumentParser(description="Encode pictures with Ray Data into Parquet.")
    parser.add_argument("source", help="a folder of pictures, or a URL that pyarrow reads, such as s3://bucket/photos")
    parser.add_argument("out", help="a new folder, or such a URL")
    parser.add_argument("--workers", type=int, default=2, help="processes, each on one core")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--effort", type=int, default=5)
    arguments = parser.parse_args()
    if "://" not in arguments.out and Path(arguments.out).exists():
        sys.exit(f"{arguments.out} exists; Ray would add to it")

    import pyarrow.dataset
    import ray

    ray.init(log_to_driver=False)
    begin = time.monotonic()
    (
        ray.data.read_binary_files(arguments.source, include_paths=True, num_cpus=FILE_CPUS)
        .map_batches(
            Encoder,
            batch_size=16,
            compute=ray.data.ActorPoolStrategy(size=arguments.workers),
            fn_constructor_args=(arguments.quality, arguments.effort),
            num_cpus=ENCODER_CPUS,
        )
        .write_parquet(arguments.out, ray_remote_args={"num_cpus": FILE_CPUS})
    )
    seconds = time.monotonic() - begin
    written = pyarrow.dataset.dataset(arguments.out, format="parquet")
    pictures = written.count_rows()
    failed = written.to_table(["path", "error"], filter=pyarrow.dataset.field("error").is_valid()).to_pylist()
    for row in failed:
        print(f"{row['path']}: {row['error']}", file=sys.stderr)
    print(f"{pictures} pictures, {len(failed)} failed, {seconds:.1f} s, {pictures / seconds:.2f} pictures/s")


if __name__ == "__main__":
    main()
