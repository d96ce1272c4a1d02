"""Hook of mkdocs.yml: the site's files are the repository's own, under the paths they have there, so that their links hold."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PATTERNS = (
    "*.md", "CITATION.cff", "benchmarks/README.md", "weights/*.md", "docs/*.md", "docs/images/*",
    "bitstream/vqbitstream/*.py", "codec/vqcodec/*/*.py", "examples/*.py", "browser/src/*",  # documents link to these
    "codec/vqcodec/desktop/*",
)  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs has found the theme's files, which stay, and those of docs/ without their folder's name."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = sorted(path.relative_to(ROOT).as_posix() for pattern in PATTERNS for path in ROOT.glob(pattern))
    return Files([*theme, *(File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in paths)])
