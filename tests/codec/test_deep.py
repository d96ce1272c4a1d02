"""More than 8 bits: samples of 16 bits that use fewer, in grey and in colours, floats, and what is said about them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import vqcodec
from PIL import Image
from support import picture
from vqbitstream.limits import Limits
from vqcodec.pictures.reading import to_planes

PIXELS = picture(33, 21)
LIMITS = Limits()
U16 = npt.NDArray[np.uint16]
CHANNELS = {"grey": 1, "grey and alpha": 2, "colour": 3, "colour and alpha": 4}


def samples(bits: int, channels: int, *, alpha_bits: int = 16) -> U16:
    """The picture in so many bits, up to the largest value."""
    colours = np.array(PIXELS[..., :1] if channels < 3 else PIXELS)
    colours[0, 0] = 255
    values = np.rint(colours / 255 * (2**bits - 1))
    if channels in (2, 4):
        values = np.dstack([values, np.rint(PIXELS[..., 2] / 255 * (2**alpha_bits - 1))])
    return values.astype(np.uint16)


def png(values: U16) -> io.BytesIO:
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    made = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + made)


def tiff(values: U16, order: str, *, deflated: bool = False) -> io.BytesIO:
    height, width, channels = values.shape
    body = values.astype(order + "u2").tobytes()
    body = zlib.compress(body) if deflated else body
    body += bytes(len(body) % 2)
    tags = [(256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 8 if deflated else 1), (262, 3, 1 if channels < 3 else 2),
            (273, 4, 8 + 2 * channels), (277, 3, channels), (278, 3, height), (279, 4, len(body))]  # fmt: skip
    if channels in (2, 4):
        tags.append((338, 3, 2))
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + 2 * channels + len(body))
    out += struct.pack(f"{order}{channels}H", *[16] * channels) + body + struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        many = tag == 258 and channels > 1
        number = 8 if many else value
        packed = struct.pack(order + "I", number) if kind == 4 or (many and channels > 2) else b""
        if not packed:
            packed = struct.pack(order + "HH", *([16, 16] if many else [value, 0]))
        out += struct.pack(order + "HHI", tag, kind, channels if many else 1) + packed
    return io.BytesIO(out + bytes(4))


def files(values: U16) -> list[io.BytesIO]:
    made = [png(values)]
    if values.shape[2] != 2:  # Pillow reads no such TIFF
        made += [tiff(values, order, deflated=deflated) for order in "<>" for deflated in (False, True)]
    return made


@pytest.mark.parametrize("channels", CHANNELS.values(), ids=CHANNELS)
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_sixteen_bits_that_use_fewer_are_not_nearly_black(bits: int, channels: int) -> None:
    """Up to the largest value of so many bits, as an exposed photograph has it."""
    for file in files(samples(bits, channels)):
        with pytest.warns(UserWarning, match=rf"no value above {2**bits - 1}: taken as {bits} bits"):
            planes = to_planes(file, LIMITS)
        expected = np.rint(samples(bits, channels) * (255 / (2**bits - 1)))
        colour = np.atleast_3d(planes.colour)
        assert np.abs(colour - expected[..., : 1 if channels < 3 else 3]).max() <= 1
        if channels in (2, 4):
            assert planes.alpha is not None
            assert np.abs(planes.alpha.astype(int) - PIXELS[..., 2]).max() <= 1


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_of_fewer_bits_goes_with_the_colours(channels: int) -> None:
    with pytest.warns(UserWarning, match="taken as 12 bits"):
        planes = to_planes(png(samples(12, channels, alpha_bits=12)), LIMITS)
    assert planes.alpha is not None
    assert np.abs(planes.alpha.astype(int) - PIXELS[..., 2]).max() <= 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("channels", CHANNELS.values(), ids=CHANNELS)
def test_sixteen_bits_stay_as_they_are(channels: int) -> None:
    for file in files(samples(16, channels)):
        planes = to_planes(file, LIMITS)
        expected = samples(16, channels)[..., : 1 if channels < 3 else 3] / 257
        assert np.abs(np.atleast_3d(planes.colour) - expected).max() <= 1


@pytest.mark.filterwarnings("error")
def test_black_is_black() -> None:
    for channels in CHANNELS.values():
        values = np.zeros((4, 4, channels), np.uint16)
        assert not to_planes(png(values), LIMITS).colour.any()


def test_a_file_that_cannot_be_read_twice_is_read_once() -> None:
    class Pipe(io.RawIOBase):
        """Such as what a server sends."""

        def __init__(self, file: io.BytesIO) -> None:
            self.file = file

        def read(self, size: int = -1) -> bytes:
            return self.file.read(size)

        def seekable(self) -> bool:
            return False

    assert to_planes(Pipe(png(samples(12, 3))), LIMITS).colour.max() == 15


FLOATS = {
    "0..1": (0, 1, 1), "elevations": (0, 3000, 4095), "12 bits": (0, 4095, 4095), "highlights": (0, 2.5, 2.5), "levels": (0, 200, 255),
    "16 bits": (0, 60000, 65535), "beyond": (0, 500_000, 500_000),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_never_nearly_black(name: str) -> None:
    low, high, top = FLOATS[name]
    values = np.linspace(low, high, 64 * 64, dtype=np.float32).reshape(64, 64)
    with pytest.warns(UserWarning, match=r"mode F, taken as 0\.\."):
        colour = to_planes(Image.fromarray(values), LIMITS).colour
    assert abs(int(colour.max()) - 255 * high / top) <= 1


def test_what_lies_below_a_range_is_told() -> None:
    values = np.linspace(-1, 1, 1000, dtype=np.float32).reshape(20, 50)
    with pytest.warns(UserWarning, match=r"0\.\.1 \(pixels clipped: 500 below\)"):
        assert to_planes(Image.fromarray(values), LIMITS).colour.max() == 255


def written(values: npt.NDArray[np.generic], order: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    tifffile.imwrite(file, values, byteorder=order, **options)
    file.seek(0)
    return file


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.filterwarnings("ignore:.*taken as 0")
def test_samples_that_pillow_misreads(order: str, compression: str | None) -> None:
    """It swaps the bytes of compressed big-endian ones, takes planes of 16 bits for planes of 8, and unsigned for signed."""
    grey = np.linspace(0, 1, 40 * 64).reshape(40, 64)
    colour = np.stack([grey, 1 - grey, grey**2])
    kinds = {
        "float": (grey.astype(np.float32), "minisblack"), "white is zero": ((1 - grey).astype(np.float32), "miniswhite"),
        "signed": (np.rint(grey * 32767).astype(np.int16), "minisblack"), "planes": (np.rint(colour * 65535).astype(np.uint16), "rgb"),
    }  # fmt: skip
    if order == "<":  # Pillow reads no other
        kinds["unsigned"] = np.rint(grey * (2**32 - 1)).astype(np.uint32), "minisblack"
    for name, (values, photometric) in kinds.items():
        planar = {"planarconfig": "separate"} if name == "planes" else {}
        file = written(values, order, photometric=photometric, compression=compression, **planar)
        right = np.moveaxis(colour, 0, 2) if name == "planes" else grey
        assert np.abs(to_planes(file, LIMITS).colour - 255 * right).max() < 3, name


def test_what_cannot_be_brightened_is_told() -> None:
    dark = samples(12, 4, alpha_bits=12)
    planes = written(np.moveaxis(dark[..., :3], 2, 0).copy(), "<", photometric="rgb", planarconfig="separate")
    with pytest.warns(UserWarning, match="nearly black: its 16 bits use 12"):
        to_planes(planes, LIMITS)
    with pytest.warns(UserWarning, match="nearly clear: its 16 bits use 12"):
        to_planes(written(dark, "<", photometric="rgb", extrasamples=["assocalpha"]), LIMITS)
    four = written(
        np.moveaxis(dark, 2, 0).copy(), "<", photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"]
    )
    with pytest.raises(vqcodec.ImageError, match="separate planes of 16 bits"):
        to_planes(four, LIMITS)


def test_a_turned_picture_keeps_what_its_file_says() -> None:
    """Turned by XMP, after Pillow has read it."""
    values = samples(16, 1)[..., 0]
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    file = written(65535 - values, "<", photometric="miniswhite", extratags=[(700, 1, len(xmp), xmp, True)])
    colour = to_planes(file, LIMITS).colour
    np.testing.assert_array_equal(colour, np.rot90(np.rint(values / 257), -1))
