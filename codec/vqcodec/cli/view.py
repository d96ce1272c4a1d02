"""The command `view`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from vqcodec.cli.console import guard, tell


@click.command()
@click.argument("source", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the local server; a free one by default.")
@click.option("--open/--no-open", "opens", default=True, help="Open the page in the browser.  [default: open]")
def view(source: Path, port: int, opens: bool) -> None:
    """Show a .vqc file, or all in a folder, in the browser, which decodes them itself.

    The page is served from this machine to this machine only, until Ctrl-C.
    """

    def work() -> None:
        import webbrowser

        from vqcodec.view import Gallery, serve

        with serve(Gallery(source), port) as server:
            address = f"http://127.0.0.1:{server.port}/"
            tell(f"{address}  (Ctrl-C ends it)")
            if opens:
                webbrowser.open(address)
            with suppress(KeyboardInterrupt):
                server.serve_forever()

    guard(work, str(source))
