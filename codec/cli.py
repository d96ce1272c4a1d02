"""The command line. Heavy imports stay inside the commands."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

PICTURE_SUFFIX = ".png"


def _fail(message: str) -> None:
    click.echo(f"vqcodec: {' '.join(message.split())}", err=True)
    sys.exit(1)


def _guard(work: Callable[[], None]) -> None:
    """Run; what goes wrong with files or pictures becomes one line on stderr and exit code 1."""
    from vqbitstream.errors import VQCError

    try:
        work()
    except (VQCError, ValueError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except MemoryError:
        _fail("not enough memory for this picture")
    except KeyboardInterrupt:
        click.echo("vqcodec: interrupted", err=True)
        sys.exit(130)


def _output(source: str, target: str | None, suffix: str, force: bool) -> str:
    """Where to write: the target, or the source with its suffix swapped. Raises ValueError."""
    if target is None:
        if source == "-":
            return "-"
        if not Path(source).name:
            raise ValueError(f"{source}: is a folder")
        target = str(Path(source).with_suffix(suffix))
    if target == "-":
        return target
    path = Path(target)
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}: no such folder")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{target}: is no ordinary file; write to stdout with - instead")
    if source != "-" and path.exists() and Path(source).exists() and path.samefile(source):
        raise ValueError(f"{target}: output and input are the same file")
    if path.is_dir():
        raise ValueError(f"{target}: is a folder")
    if path.exists() and not force:
        raise ValueError(f"{target}: exists already; -f overwrites it")
    return target


def _write(target: str, data: bytes) -> None:
    """Write through a temporary file beside the target, so that a half-written file never bears its name."""
    if target == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    path = Path(target).resolve()  # a link stays a link: what it points to is replaced
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read(source: str) -> bytes:
    return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vqcodec", message="vqcodec %(version)s")
def main() -> None:
    """A learned image codec: far smaller than JPEG, real files, exact on every machine."""


@main.command()
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="[OUTPUT]", required=False)
@click.option(
    "-q", "--quality", type=click.FloatRange(1, 100), default=50, show_default=True, help="1 smallest, 100 finest."
)
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(1, 9),
    default=5,
    show_default=True,
    help="1 nearest codewords; above 5 it buys nothing yet.",
)
@click.option("-m", "--model", default="default", show_default=True, help="A model's name or a weights file.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@click.option("--no-verify", is_flag=True, help="Do not decode the file's indices before writing it.")
def encode(
    source: str, target: str | None, quality: float, effort: int, model: str, force: bool, no_verify: bool
) -> None:
    """Encode a picture: photo.png -> photo.vqc. `-` is stdin or stdout."""

    def work() -> None:
        from io import BytesIO

        from . import api

        out = _output(source, target, ".vqc", force)
        picture = BytesIO(_read(source)) if source == "-" else source
        data = api.encode(picture, quality=quality, effort=effort, model=model, verify=not no_verify)
        _write(out, data)

    _guard(work)


@main.command()
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="[OUTPUT]", required=False)
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@click.option("--layers", type=click.IntRange(1), help="Decode only the first N layers, a preview.")
@click.option("-m", "--model", help="A weights file, where the model is not an installed one.")
def decode(source: str, target: str | None, force: bool, layers: int | None, model: str | None) -> None:
    """Decode a file: photo.vqc -> photo.png. The output's suffix chooses its format; `-` writes PNG to stdout."""

    def work() -> None:
        from io import BytesIO

        from PIL import Image

        from . import api

        out = _output(source, target, PICTURE_SUFFIX, force)
        suffix = PICTURE_SUFFIX if out == "-" else Path(out).suffix.lower()
        kind = Image.registered_extensions().get(suffix)
        if kind not in Image.SAVE:
            raise ValueError(f"{out}: Pillow writes no pictures with the suffix {suffix!r}")
        raw = _read(source)
        image = api.decode(raw, layers=layers) if model is None else api.load_model(model).decode(raw, layers=layers)
        buffer = BytesIO()
        image.save(buffer, format=kind)
        _write(out, buffer.getvalue())

    _guard(work)


@main.command()
@click.argument("source", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def info(source: str, as_json: bool) -> None:
    """Say what a .vqc file holds, without decoding it."""

    def work() -> None:
        from . import api

        facts = api.info(_read(source))
        if as_json:
            click.echo(json.dumps(asdict(facts) | {"bpp": facts.bpp}))
            return
        quality = "" if facts.quality is None else f", quality {facts.quality:g}"
        click.echo(
            f"{source}: {facts.width}x{facts.height} {facts.mode}, {facts.file_bytes} bytes, {facts.bpp:.3f} bpp{quality}, "
            f"step {facts.step:.4f}, {facts.layers} layers, model {facts.model or 'not installed'} ({facts.model_id})"
        )

    _guard(work)


@main.command()
@click.argument("data", metavar="DATA...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--minutes", type=click.FloatRange(min=0), help="How long to train; with --resume, a new plan of that length."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/model"), show_default=True, help="Folder of the run."
)
@click.option("--resume", type=click.Path(path_type=Path), help="A checkpoint to go on from.")
@click.option(
    "--phase", "phases", multiple=True, type=click.Choice(["prior", "joint", "vector"]), help="Only these phases."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Crops per step.")
@click.option(
    "--crop",
    type=click.IntRange(64),
    default=192,
    show_default=True,
    help="Side of a crop in pixels, a multiple of 16.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("--validate", type=click.Path(path_type=Path), help="Pictures to measure at the end.")
@click.option("--seed", type=int, default=0, show_default=True)
def train(data: tuple[Path, ...], validate: Path | None, **options: Any) -> None:
    """Train a model on pictures: files, folders and tar shards.

    Writes checkpoint.safetensors and log.jsonl into the run's folder, at the end model.safetensors, which
    `vqcodec encode -m` takes. Ctrl-C saves; --resume goes on.
    """

    def work() -> None:
        from .training.run import RunOptions, train_model

        train_model(list(data), RunOptions(**options), validate, lambda line: click.echo(line, err=True))

    _guard(work)


if __name__ == "__main__":
    main()
