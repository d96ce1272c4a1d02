"""The command `models`."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import click

from vqcodec.cli.console import guard, tell, tell_json


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the installed models; the first is the default. Yours are in $VQCODEC_MODELS or the platform's data folder."""
    if context.invoked_subcommand is not None:
        return

    def work() -> None:
        from vqcodec.models import store

        entries, own = store.manifest(), store.user_models()
        if as_json:
            listed = [asdict(e) | {"bytes": e.file_bytes} for e in entries]
            listed += [
                {"name": m.name, "file": str(m.path), "model_id": m.model_id, "bytes": m.path.stat().st_size}
                for m in own
            ]
            tell_json(listed)
            return
        for entry in entries:
            tell(
                f"{entry.name}: {entry.model_id}, {entry.license}, {entry.file_bytes / 1e6:.1f} MB, SHA-256 {entry.sha256}"
            )
        for model in own:
            tell(f"{model.name}: {model.model_id}, yours, {model.path.stat().st_size / 1e6:.1f} MB, {model.path}")

    guard(work)


@models.command("add")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--name", help="What to call it; by default the file's name.")
def models_add(source: Path, name: str | None) -> None:
    """Add a weights file to your models, so that its files open and `-m NAME` finds it."""

    def work() -> None:
        from vqcodec.codec import Codec
        from vqcodec.models import store

        Codec(source)  # proves that it is sound
        added = store.add(source, name or re.sub(r"-[0-9a-f]{16}$", "", source.stem))
        tell(f"{added.name}: {added.model_id}, {added.path}")

    guard(work)


@models.command("web")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("-m", "--model", default="default", show_default=True, help="A model's name or a weights file.")
def models_web(folder: Path, model: str) -> None:
    """Write what a web page needs to show .vqc files: the decoder's modules, and its weights without the encoder.

    Then `<script type="module" src="DIR/vqc.js"></script>` and `<img src="photo.vqc">` work. Files of the same names are replaced.
    """

    def work() -> None:
        from vqcodec.view import write_web

        written = write_web(folder, model)
        code = sum(path.stat().st_size for path in written[:-1])
        tell(
            f"{folder}: {len(written) - 1} modules, {code / 1e3:.0f} kB; {written[-1].stat().st_size / 1e6:.1f} MB of weights"
        )

    guard(work, str(folder))


@models.command("remove")
@click.argument("name")
def models_remove(name: str) -> None:
    """Delete one of your models. Files made with it open again once it is added again."""

    def work() -> None:
        from vqcodec.models import store

        removed = store.remove(name)
        tell(f"removed {removed.name} ({removed.model_id})")

    guard(work)
