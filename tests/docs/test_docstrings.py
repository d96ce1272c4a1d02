"""Docstrings are in Google style, and name only parameters and attributes that are there."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import griffe
import pytest
from griffe import DocstringSectionKind as Kind
from support import ROOT

DESCRIBED = {Kind.parameters: "parameters", Kind.attributes: "attributes"}


def documented(item: griffe.Object) -> Iterator[griffe.Object]:
    yield item
    for member in item.members.values():
        if isinstance(member, griffe.Object):
            yield from documented(member)


@pytest.mark.parametrize("package", ["vqbitstream", "vqcodec"])
def test_every_docstring_is_well_formed(package: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)  # griffe tells what it cannot make sense of, such as a parameter that is not there
    root = griffe.load(package, search_paths=[ROOT / "codec", ROOT / "bitstream"], resolve_aliases=False)
    sections = [
        section
        for item in documented(root)
        if item.docstring
        for section in item.docstring.parse("google", warn_unknown_params=True)
    ]
    assert sum(section.kind in DESCRIBED for section in sections) > 5
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
