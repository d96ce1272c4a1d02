"""The shipped models: the default's sizes, and how a model is added to them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, TINY
from vqcodec.models import store
from vqcodec.models.config import ModelConfig

from weights.ship import ship


def test_a_model_has_the_shipped_sizes_by_default() -> None:
    assert ModelConfig() == store.load("default").config
    assert ModelConfig().body_blocks == 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of weights/, in which the package looks for its models."""
    for path in (ROOT / "weights").glob("*[!p][!y]"):
        if path.is_file():
            shutil.copy(path, tmp_path)
    monkeypatch.setattr(store, "files", lambda _: tmp_path)
    store.manifest.cache_clear()
    yield tmp_path
    store.manifest.cache_clear()


def names() -> list[str]:
    store.manifest.cache_clear()
    return [entry.name for entry in store.manifest()]


def test_a_second_model_is_shipped_beside_the_first(folder: Path) -> None:
    first = store.find("default")
    shipped = ship(TINY, "tiny", folder=folder)
    assert names() == ["general", "tiny"]
    assert store.find("default") == first
    assert store.load("tiny").model_id.hex() in shipped.name  # its SHA-256 is verified
    assert store.find_id(store.load("tiny").model_id).name == "tiny"
    assert {p.name for p in folder.glob("*.safetensors")} == {first.path.name, shipped.name}


def test_a_second_model_can_become_the_default(folder: Path) -> None:
    ship(TINY, "tiny", default=True, folder=folder)
    assert names() == ["tiny", "general"]
    assert store.find("default").name == "tiny"


def test_new_weights_replace_those_of_the_same_name(folder: Path) -> None:
    before = store.find("general").path
    shipped = ship(TINY, "general", folder=folder)
    assert names() == ["general"]
    assert not before.exists()
    assert store.load("general").file.path == shipped


def test_the_same_weights_are_not_shipped_under_two_names(folder: Path) -> None:
    ship(TINY, "tiny", folder=folder)
    with pytest.raises(ValueError, match="these weights are shipped already, as 'tiny'"):
        ship(TINY, "general", folder=folder)
    assert names() == ["general", "tiny"]
    assert store.find("general").path.exists()


@pytest.mark.parametrize("name", ["default", "Über", "../x", ""])
def test_names_that_cannot_be_shipped(name: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="is not a name for a shipped model"):
        ship(TINY, name, folder=folder)
    assert names() == ["general"]
