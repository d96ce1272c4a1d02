"""Pictures behind a draggable divider with zoom, as part of a page: `figure(...)` once per set, STYLE and SCRIPT once per page.

Without scripts the pictures are shown one below the other.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from PIL import Image

STATIC = files("vqcodec.compare") / "static"
STYLE = (STATIC / "divider.css").read_text()
SCRIPT = (STATIC / "divider.js").read_text()


@dataclass(frozen=True)
class Shown:
    """A picture to show.

    Attributes:
        name: Short; viewers choose by it.
        note: A remark, such as its bytes.
        image: The picture.
    """

    name: str
    note: str
    image: Image.Image


def figure(title: str, pictures: Sequence[Shown], left: int = 0, right: int = 1) -> str:
    """HTML of a set of pictures of one size; `left` and `right` are the positions of those shown first."""
    lines = [
        f'<figure class="divider" data-left="{left}" data-right="{right}"><figcaption>{escape(title)}</figcaption>'
    ]
    for shown in pictures:
        width, height = shown.image.size
        lines.append(
            f'<img width="{width}" height="{height}" alt="{escape(f"{title}: {shown.name}, {shown.note}")}" '
            f'data-name="{escape(shown.name)}" data-note="{escape(shown.note)}" src="{address(shown.image)}">'
        )
    return "\n".join([*lines, "</figure>"])


def address(image: Image.Image) -> str:
    """A picture embedded in the page without loss: the value of `src`."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", lossless=True, quality=80, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
