"""Griffe extension of mkdocs.yml: the docstrings' prose ("name: what it is.") becomes lists, and their doctests become code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.M)
SENTENCE = re.compile(r"(?<=\.)\s+(?=(?:Raises|Returns|Warns) )")  # starts a paragraph of its own


def marked_up(text: str, names: Iterable[str]) -> str:
    """A docstring as Markdown. names: of the parameters or fields that it describes, each at the start of a sentence."""
    text = DOCTEST.sub(lambda match: f"```python\n{match[0]}\n```", text)
    text = SENTENCE.sub("\n\n", text)
    either = "|".join(map(re.escape, names))
    if not either:
        return text
    item = re.compile(rf"(?:^|(?<=[.)])\s+|\n)((?:{either})(?:, (?:{either}))*): ")
    return item.sub(lambda match: f"\n\n* `{match[1]}`: ", text)


class Prose(griffe.Extension):
    """Applies `marked_up` to functions and classes."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        if func.docstring:
            func.docstring.value = marked_up(func.docstring.value, [p.name for p in func.parameters])

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        if cls.docstring:
            names = [*cls.attributes, *(p.name for p in cls.parameters)]
            cls.docstring.value = marked_up(cls.docstring.value, dict.fromkeys(names))
