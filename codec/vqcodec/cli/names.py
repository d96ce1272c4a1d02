"""What the inputs of a command are, and where their outputs go."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

import click

from vqcodec.pictures.suffixes import FILE_SUFFIX, PICTURE_SUFFIXES, RAW_SUFFIXES

JPEG_SUFFIXES, TIFF_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}, {".tif", ".tiff"}
LISTED_NAMES, LISTED_SUFFIXES = 6, 6  # of what was skipped


class Job(NamedTuple):
    """An input and its output.

    Attributes:
        source: Path, or `-`.
        target: Path or `-`; None is the input with its suffix swapped.
        problem: What is wrong with the input, if that is known already.
    """

    source: str
    target: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Naming:
    """How outputs are called.

    Attributes:
        suffix: Of outputs without a name; None where there are no outputs.
        output: What -o says, if anything: a folder, or the file for a single input.
        keep_suffix: a.jpg becomes a.jpg.vqc instead of a.vqc.
    """

    suffix: str | None
    output: str | None = None
    keep_suffix: bool = False

    @property
    def wanted(self) -> frozenset[str]:
        """Suffixes of what is taken from folders."""
        return PICTURE_SUFFIXES if self.suffix == FILE_SUFFIX else frozenset({FILE_SUFFIX})

    @property
    def kind(self) -> str:
        return "picture" if self.suffix == FILE_SUFFIX else f"{FILE_SUFFIX} file"

    @property
    def makes(self) -> str:
        return f"{FILE_SUFFIX} file" if self.suffix == FILE_SUFFIX else "picture"

    def beside(self, path: str | Path) -> str | None:
        """The output for an input: the same path with another suffix; a.jpg.vqc becomes a.jpg as JPEG, and a.jpg.png as PNG."""
        if self.suffix is None or not Path(path).name:
            return None
        without = Path(path).with_suffix("")
        if self.suffix != FILE_SUFFIX and _same_format(without.suffix, self.suffix):
            return str(without)
        return f"{path}{self.suffix}" if self.keep_suffix else str(Path(path).with_suffix(self.suffix))

    def known(self, path: str) -> bool:
        """Whether a path has the suffix of an output that we know."""
        given = Path(path).suffix.lower()
        return given == FILE_SUFFIX if self.suffix == FILE_SUFFIX else given in PICTURE_SUFFIXES

    def names_file(self, path: str) -> bool:
        """Whether a second argument has the suffix of an output, known or not."""
        given = Path(path).suffix.lower()
        return given == FILE_SUFFIX if self.suffix == FILE_SUFFIX else given not in ("", FILE_SUFFIX)


@dataclass
class Plan:
    """What a command is to do.

    Attributes:
        jobs: Inputs and outputs.
        folder: Of the outputs, if there is one.
        many: Whether there may be several inputs: existing outputs are then skipped instead of refused.
        ignored: Files of folders that are left alone, by the folder that was named.
        kind: What the others are.
    """

    jobs: list[Job]
    folder: Path | None = None
    many: bool = False
    ignored: dict[str, list[str]] = field(default_factory=dict)
    kind: str = "picture"

    def remarks(self, *, everything: bool = False) -> Iterator[str]:
        """A line for each folder in which files were left alone."""
        for top, names in self.ignored.items():
            yield f"{top}: {skipped(names, self.kind, len(names) if everything else LISTED_NAMES)}"


def plan(paths: Sequence[str], naming: Naming, *, recursive: bool = False) -> Plan:
    """The jobs of a command.

    `INPUT OUTPUT`, or inputs with an output folder, or inputs whose outputs go beside them.

    Args:
        paths: Arguments of the command.
        naming: How outputs are called.
        recursive: Replace folders by the files in them.

    Raises:
        click.UsageError: The arguments do not make sense together.
    """
    output, suffix = naming.output, naming.suffix
    if output is None and len(paths) == 2 and suffix is not None and not recursive:
        if paths[1] == "-" or naming.names_file(paths[1]):
            return Plan([Job(paths[0], paths[1])])
        if not Path(paths[1]).exists():
            raise click.UsageError(f"{paths[1]} is no input, and does not have an output's suffix")
    single = len(paths) == 1 and not (recursive and _is_folder(paths[0]))
    if output is not None and not Path(output).is_dir() and not output.endswith(("/", os.sep)):
        if single and (output == "-" or naming.known(output)):
            return Plan([Job(paths[0], output)])
        if output == "-" or naming.known(output):
            raise click.UsageError(f"-o {output}: several inputs need a folder for their outputs")
        if Path(output).suffix.lower() in PICTURE_SUFFIXES | {FILE_SUFFIX} or Path(output).exists():
            raise click.UsageError(f"-o {output}: neither a folder nor the name of a {naming.makes}")
    folder = None if output is None else Path(output)
    if "-" in paths and (folder is not None or len(paths) > 1):
        raise click.UsageError("stdin has no name for its output; give - OUTPUT instead")
    done = Plan([], folder, folder is not None or not single, kind=naming.kind)
    for path in paths:
        if recursive and _is_folder(path):
            done.jobs += _walk(Path(path), naming, done)
        else:
            done.jobs.append(Job(path, _target(path, Path(path).name, naming, folder)))
    done.jobs = list(dict.fromkeys(done.jobs))  # an input that is named twice is done once
    return done


def _target(path: str | Path, name: str | Path, naming: Naming, folder: Path | None) -> str | None:
    """The output of an input that is called `name` in the folder of the outputs."""
    if path == "-" or not Path(name).name:
        return None
    return naming.beside(path if folder is None else folder / name)


def _walk(top: Path, naming: Naming, done: Plan) -> Iterator[Job]:
    """The files in a folder and below, in order, without hidden ones. Outputs keep the tree below `top`."""
    problems: list[Job] = []

    def unreadable(error: OSError) -> None:
        problems.append(Job(str(error.filename), problem=f"{error.filename}: {error.strerror}"))

    for place, folders, names in os.walk(top, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            source = Path(place, name)
            within = source.relative_to(top)
            if source.suffix.lower() in naming.wanted:
                yield Job(str(source), _target(source, within, naming, done.folder))
            elif done.folder is not None or source.suffix.lower() not in PICTURE_SUFFIXES | {FILE_SUFFIX}:
                done.ignored.setdefault(str(top), []).append(str(within))  # not the outputs beside their inputs
    yield from problems


def _same_format(one: str, other: str) -> bool:
    one, other = one.lower(), other.lower()
    return one == other or any({one, other} <= kind for kind in (JPEG_SUFFIXES, TIFF_SUFFIXES))


def skipped(names: Sequence[str], kind: str, listed: int) -> str:
    """Such as `skipped 2 files that are not pictures by suffix (.CR2 1, .txt 1): a.CR2, b.txt`."""
    suffixes = Counter(Path(name).suffix for name in names)
    what = f"1 file that is not a {kind}" if len(names) == 1 else f"{len(names)} files that are not {kind}s"
    common = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    counts = [f"{suffix or 'no suffix'} {number}" for suffix, number in common[:LISTED_SUFFIXES]]
    if rest := sum(number for _, number in common[LISTED_SUFFIXES:]):
        counts.append(f"others {rest}")
    shown = ", ".join(names[:listed]) + (
        f" and {len(names) - listed} more (-v names them)" if len(names) > listed else ""
    )
    raw = kind == "picture" and any(suffix.lower() in RAW_SUFFIXES for suffix in suffixes)
    hint = "; develop raw photographs first" if raw else ""
    return f"skipped {what} by suffix ({', '.join(counts)}): {shown}{hint}"


def same_but_for_case(jobs: Sequence[Job]) -> set[str]:
    """Outputs whose names differ from another's only in case."""
    targets = {job.target for job in jobs if job.target is not None}
    counts = Counter(target.casefold() for target in targets)
    return {target for target in targets if counts[target.casefold()] > 1}


def ignores_case(folder: Path) -> bool:
    """Whether the file system of an existing folder takes `a` and `A` for one name."""
    with tempfile.NamedTemporaryFile(prefix=".vqc-case-", dir=folder) as probe:
        return Path(probe.name).with_name(Path(probe.name).name.upper()).exists()


def _is_folder(path: str) -> bool:
    stat = stat_of(path)
    return stat is not None and S_ISDIR(stat.st_mode)


def finished(target: str) -> bool:
    """Whether an output exists and is not empty."""
    stat = stat_of(target)
    return stat is not None and S_ISREG(stat.st_mode) and stat.st_size > 0


def stat_of(path: str) -> os.stat_result | None:
    """Of a path; None for `-`, and where it cannot be read."""
    try:
        return None if path == "-" else Path(path).stat()
    except (OSError, ValueError):
        return None
