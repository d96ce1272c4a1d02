"""The free typefaces that pictures are drawn with, and which of them are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

INSTALL = 'pip install ".[pictures]"'


@dataclass(frozen=True)
class Family:
    """A typeface: files of a Python package that match a pattern. license: SPDX name, or the text's name where it has none."""

    name: str
    package: str
    pattern: str
    license: str
    held_out: bool = False

    def files(self) -> list[Path]:
        """Sorted by name; empty where the package is not installed."""
        spec = find_spec(self.package)
        places = spec.submodule_search_locations if spec else None
        return sorted(Path(places[0]).glob(self.pattern)) if places else []


MATPLOTLIB = "mpl-data/fonts/ttf/"
FAMILIES = (
    Family("DejaVu Sans", "matplotlib", MATPLOTLIB + "DejaVuSans[.-]*ttf", "Bitstream-Vera"),
    Family("DejaVu Sans Mono", "matplotlib", MATPLOTLIB + "DejaVuSansMono*.ttf", "Bitstream-Vera"),
    Family("DejaVu Serif", "matplotlib", MATPLOTLIB + "DejaVuSerif[.-]*ttf", "Bitstream-Vera"),
    Family("STIX", "matplotlib", MATPLOTLIB + "STIXGeneral*.ttf", "STIX Fonts User License"),
    Family("Roboto", "font_roboto", "files/*.ttf", "Apache-2.0"),
    Family("Source Sans Pro", "font_source_sans_pro", "files/*.ttf", "OFL-1.1"),
    Family("Source Serif Pro", "font_source_serif_pro", "files/*.ttf", "OFL-1.1"),
    Family("Manrope", "font_manrope", "files/Manrope-[!V]*.ttf", "OFL-1.1"),
    Family("Fredoka One", "font_fredoka_one", "files/*.ttf", "OFL-1.1"),
    Family("Amatic SC", "font_amatic_sc", "files/*.ttf", "OFL-1.1"),
    Family("Hanken Grotesk", "font_hanken_grotesk", "files/*.otf", "OFL-1.1", held_out=True),
    Family("Caladea", "font_caladea", "files/*.ttf", "Apache-2.0", held_out=True),
)


def font_files(held_out: bool, families: Sequence[Family] = FAMILIES) -> list[Path]:
    """Files of the typefaces of a split. Raises FileNotFoundError with one line where a typeface is not installed."""
    found = {f.name: f.files() for f in families if f.held_out == held_out}
    missing = sorted(name for name, files in found.items() if not files)
    if missing:
        raise FileNotFoundError(f"typefaces are missing ({', '.join(missing)}); install them: {INSTALL}")
    return [path for files in found.values() for path in files]
