"""The library as its callers meet it: arguments that are wrong are named, and what may be given."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vqcodec
from PIL import Image
from support import picture
from vqcodec.codec import Codec


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quality", "50"), ("quality", None), ("quality", float("nan")), ("quality", True), ("quality", [50]), ("tune", None),
        ("tune", "film"), ("effort", "5"), ("effort", 5.5), ("max_size", 0), ("max_size", "100"), ("target_bytes", "50k"),
        ("target_psnr", -1), ("target_ssimulacra2", 101), ("target_bpp", torch.tensor([1.0, 2.0])), ("target_bytes", 10**400),
    ],
)  # fmt: skip
def test_a_wrong_argument_of_encode_is_named(name: str, value: Any, codec: Codec) -> None:
    with pytest.raises(ValueError, match=name) as error:
        codec.encode(picture(20, 20), **{name: value})
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region", (0, 0, 10)), ("region", "0,0,5,5"), ("region", 7), ("region", (0, 0, 5.5, 5)), ("layers", 0), ("layers", "1"),
        ("layers", 1.0),
    ],
)  # fmt: skip
def test_a_wrong_argument_of_decode_is_named(name: str, value: Any, codec: Codec) -> None:
    data = codec.encode(picture(20, 20), effort=1)
    with pytest.raises(ValueError, match=name):
        codec.decode(data, **{name: value})


@pytest.mark.parametrize(
    "image", [None, 7, [[1, 2], [3, 4]], torch.zeros(3, 8, 8), torch.zeros(8, 8, 3, dtype=torch.uint8)]
)
def test_what_is_no_picture_is_an_image_error(image: Any, codec: Codec) -> None:
    with pytest.raises(vqcodec.ImageError):
        codec.encode(image, effort=1)


def test_open_files_are_decoded(codec: Codec, tmp_path: Path) -> None:
    data = vqcodec.encode(picture(40, 30), effort=1)
    (tmp_path / "a.vqc").write_bytes(data)
    with (tmp_path / "a.vqc").open("rb") as file:
        assert vqcodec.decode(file).size == (40, 30)
        file.seek(0)
        assert vqcodec.info(file).width == 40
    with pytest.raises(vqcodec.VQCError, match=r"a\.vqc"):
        vqcodec.decode(file)
    assert vqcodec.decode(io.BytesIO(data)).size == (40, 30)
    with pytest.raises(vqcodec.VQCError, match="open as text"):
        vqcodec.decode(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(vqcodec.LimitError):
        vqcodec.decode(io.BytesIO(data), limits=vqcodec.Limits(max_file_bytes=50))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tensors_in_and_out(channels: int) -> None:
    array = np.dstack([picture(40, 30), picture(40, 30)[..., :1]])[..., :channels]
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    data = vqcodec.encode(tensor, effort=1)
    assert data == vqcodec.encode(array if channels > 1 else array[..., 0], effort=1)
    back = vqcodec.decode_tensor(data)
    assert (back.dtype, tuple(back.shape)) == (torch.uint8, (channels, 30, 40))
    shown = np.atleast_3d(np.asarray(vqcodec.decode(data)))
    np.testing.assert_array_equal(back.permute(1, 2, 0).numpy(), shown)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_larger_picture_is_scaled_down(mode: str, codec: Codec) -> None:
    image = Image.fromarray(picture(300, 200)).convert(mode)
    small = codec.decode(codec.encode(image, max_size=100, effort=1))
    assert (small.size, small.mode) == ((100, 67), mode)
    assert codec.encode(image, max_size=300, effort=1) == codec.encode(image, effort=1)


def test_hidden_colours_do_not_show_at_edges_when_scaled_down() -> None:
    from vqcodec.pictures.planes import Planes
    from vqcodec.pictures.resizing import shrunk

    colour = np.zeros((64, 64, 3), np.uint8)
    colour[:, :32] = 200
    alpha = np.where(np.arange(64) < 32, 255, 0).astype(np.uint8)[None].repeat(64, 0)
    made = shrunk(Planes(colour, alpha), 15)
    assert made.alpha is not None
    assert (
        np.abs(made.colour[made.alpha > 100].astype(int) - 200).max() <= 20
    )  # Lanczos rings a little; black would count 100


def test_only_public_names_are_listed() -> None:
    program = "import vqcodec, vqcodec.pillow_plugin; print(dir(vqcodec) == sorted(vqcodec.__all__))"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "True\n"
    )


@pytest.mark.parametrize("option", ["target_bytes", "optimize", "method"])
def test_the_plugin_refuses_what_it_does_not_do(option: str) -> None:
    vqcodec.register_pillow_plugin()
    with pytest.raises(ValueError, match=option):
        Image.fromarray(picture(20, 20)).save(io.BytesIO(), "VQC", effort=1, **{option: 1})
