"""The command `desktop`: thumbnails and the file type on freedesktop.org desktops, for one user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from vqcodec.atomic import write
from vqcodec.cli.console import guard, tell

MIME, THUMBNAILER, MANUAL = (
    "mime/packages/vqcodec.xml",
    "thumbnailers/vqcodec.thumbnailer",
    "man/man1/vqcodec.1",
)


@click.command()
@click.option("--remove", is_flag=True, help="Take them away again.")
def desktop(remove: bool) -> None:
    """Install the file type, thumbnails and the manual page for your user (Linux and other freedesktop.org desktops).

    Writes to $XDG_DATA_HOME, or ~/.local/share. macOS and Windows have no such place: docs/desktop.md.
    """
    root = click.get_current_context().find_root().command
    assert isinstance(root, click.Group)

    def work() -> None:
        share = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        if sys.platform in ("darwin", "win32"):
            raise ValueError(
                "only freedesktop.org desktops take thumbnailers; docs/desktop.md says what there is elsewhere"
            )
        for name, text in _entries(root):
            path = share / name
            if remove:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                write(str(path), lambda file, text=text: file.write(text.encode()), force=True)  # type: ignore[misc]
            tell(f"{'removed' if remove else 'wrote'} {path}")
        if (share / "mime").is_dir() and shutil.which("update-mime-database"):
            subprocess.run(["update-mime-database", str(share / "mime")], check=False)
        elif not remove:
            tell("update-mime-database is missing: the type is known once shared-mime-info is installed and updated")

    guard(work)


def _entries(root: click.Group) -> Iterator[tuple[str, str]]:
    """Files below the user's data folder, and what they hold. The thumbnailer runs this Python."""
    from vqcodec.cli.manual import page

    here = files("vqcodec").joinpath("desktop")
    yield MIME, here.joinpath("vqcodec.xml").read_text()
    yield THUMBNAILER, Template(here.joinpath("vqcodec.thumbnailer").read_text()).substitute(python=sys.executable)
    yield MANUAL, page(root, "vqcodec")
