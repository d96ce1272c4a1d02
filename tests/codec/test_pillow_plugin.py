"""The Pillow plugin, as Pillow's users meet it. The file under test is made once, with the shipped model at its fastest."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import vqbitstream
import vqcodec
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError
from support import ROOT, picture

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDTH, HEIGHT = 320, 240  # more than 65535 pixels: every layer has a section of its own


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[0x010E], tags[0x0112] = "a description", orientation
    return tags


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    vqcodec.register_pillow_plugin()


@pytest.fixture(scope="module")
def data() -> bytes:
    """A .vqc file with all metadata, written by Pillow."""
    out = io.BytesIO()
    Image.fromarray(picture(WIDTH, HEIGHT)).save(
        out, "VQC", quality=90, effort=1, exif=exif(), icc_profile=ICC, xmp=XMP
    )
    return out.getvalue()


@pytest.fixture
def path(data: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "x.vqc"
    path.write_bytes(data)
    return path


@pytest.fixture
def truncated_allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.warns(UserWarning, match="incomplete picture"):
        yield


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        got = super().read(size)
        self.bytes_read += len(got)
        return got


def damaged(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_opening_reads_header_and_metadata_only(data: bytes) -> None:
    file = Counting(data)
    with Image.open(file, formats=["VQC"]) as image:  # other formats may read on
        assert (image.format, image.mode, image.size) == ("VQC", "RGB", (WIDTH, HEIGHT))
        assert image.get_format_mimetype() == "image/x-vqc"
        assert image.info["icc_profile"] == ICC
        assert image.info["xmp"] == XMP
        assert image.getexif()[0x010E] == "a description"
        layers = sum(vqcodec.info(data).layer_bytes)
        assert file.bytes_read < len(data) - layers + 100
        assert np.array_equal(image, vqcodec.decode(data))


def test_saving_says_the_same_as_encoding(data: bytes) -> None:
    facts = vqcodec.info(data)
    assert (facts.quality, set(facts.metadata)) == (90, {"icc", "exif", "xmp"})
    bare = vqcodec.encode(picture(WIDTH, HEIGHT), quality=90, effort=1)
    assert np.array_equal(vqcodec.decode(data), vqcodec.decode(bare))


def test_metadata_is_kept_as_pillow_keeps_it(data: bytes) -> None:
    """ICC goes along; EXIF and XMP only where they are given; nothing is turned that was not asked for."""
    image = Image.fromarray(picture(48, 32))
    image.info = {"icc_profile": ICC, "exif": exif(6).tobytes(), "xmp": XMP}
    out = io.BytesIO()
    image.save(out, "VQC", effort=1)
    with Image.open(out) as again:
        assert (again.info, again.size) == ({"icc_profile": ICC}, (48, 32))
    assert image.info["exif"] == exif(6).tobytes()


@pytest.mark.parametrize("form", [exif(6), exif(6).tobytes()], ids=["Exif", "bytes"])
def test_a_given_orientation_is_applied(form: Image.Exif | bytes) -> None:
    out = io.BytesIO()
    Image.fromarray(picture(48, 32)).save(out, "VQC", effort=1, exif=form)
    with Image.open(out) as again:
        assert again.size == (32, 48)
        assert again.getexif()[0x0112] == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I;16"])
def test_modes(mode: str, tmp_path: Path) -> None:
    grey = Image.fromarray(picture(40, 30)).convert("L")
    image = Image.merge("LAB", (grey, grey, grey)) if mode == "LAB" else None
    image = image or (grey.convert("RGBA") if mode == "RGBa" else grey).convert(mode)
    image.save(tmp_path / "x.vqc", effort=1)
    with Image.open(tmp_path / "x.vqc") as again:
        expected = {"1": "L", "I;16": "L", "RGBa": "RGBA"}.get(mode, mode)
        assert again.mode == (expected if expected in ("L", "LA", "RGB", "RGBA") else "RGB")
        again.load()


def test_several_frames_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    image = Image.fromarray(picture(40, 30))
    with pytest.raises(ValueError, match="holds one picture"):
        image.save(tmp_path / "x.vqc", save_all=True, append_images=[image])
    assert not (tmp_path / "x.vqc").exists()
    image.save(tmp_path / "x.vqc", save_all=True, effort=1)  # as programs do that save every format alike


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 0}, {"quality": 101}, {"quality": "high"}, {"effort": 10}, {"effort": "x"}, {"effort": 2.0},
        {"icc_profile": "sRGB"}, {"exif": {}}, {"xmp": 5},
    ],
)  # fmt: skip
def test_options_that_cannot_be(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Image.fromarray(picture(40, 30)).save(tmp_path / "x.vqc", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "x.vqc").exists()


def test_what_is_not_ours_is_unidentified(data: bytes) -> None:
    for other in (b"", data[:7], b"\x89VQD" + data[4:], b"hello"):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(other))


def test_damaged_files_are_os_errors(data: bytes) -> None:
    metadata_bytes = len(data) - sum(vqcodec.info(data).layer_bytes)
    positions = [8, 9, 12, 34, 35, 36, 40, 50, *range(60, metadata_bytes, 97), metadata_bytes + 50, len(data) - 1]
    for position in positions:
        with pytest.raises(OSError) as caught, Image.open(io.BytesIO(damaged(data, position))) as image:
            image.load()
        assert not isinstance(caught.value, UnidentifiedImageError)
    for length in (8, 20, 34, 35, 38, 60, metadata_bytes, len(data) - 1):
        with pytest.raises(OSError), Image.open(io.BytesIO(data[:length])) as image:
            image.load()


def test_verify_checks_every_byte_and_decodes_nothing(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(damaged(data, len(data) - 1))) as image, pytest.raises(OSError, match="checksum"):
        image.verify()


def test_truncated_files_show_what_there_is(data: bytes, truncated_allowed: None) -> None:
    with Image.open(io.BytesIO(data[:-1])) as image:
        shown = np.asarray(image, dtype=float)
    assert np.abs(shown - picture(WIDTH, HEIGHT)).mean() < 20


def test_damaged_metadata_is_left_out_where_truncated_files_are_shown(data: bytes, truncated_allowed: None) -> None:
    with Image.open(io.BytesIO(damaged(data, 60))) as image:
        assert "icc_profile" not in image.info
        image.load()


def test_a_failed_load_can_be_tried_again(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.open(io.BytesIO(data[:-1]))
    for _ in range(2):
        with pytest.raises(OSError, match="ends inside"):
            image.load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.warns(UserWarning, match="incomplete picture"):
        image.load()
    assert np.asarray(image).any()


def test_max_image_pixels(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        image = Image.open(io.BytesIO(data))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT // 2 - 1)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))
    with pytest.raises(OSError, match="over the limit"):
        image.load()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    image.load()


def test_files_at_an_offset(data: bytes) -> None:
    from vqcodec.pillow_plugin import VQCImageFile

    file = io.BytesIO(b"before" + data)
    file.seek(6)
    image = VQCImageFile(file)
    file.seek(0)
    assert np.array_equal(image, vqcodec.decode(data))
    file = io.BytesIO(data)
    file.seek(100)
    with Image.open(file) as image:  # Pillow rewinds
        assert image.size == (WIDTH, HEIGHT)


def test_streams_that_do_not_seek(data: bytes) -> None:
    class Pipe(io.RawIOBase):
        file = io.BytesIO(data)

        def read(self, size: int = -1, /) -> bytes:
            return self.file.read(size)

    with Image.open(Pipe()) as image:  # type: ignore[arg-type]
        assert np.array_equal(image, vqcodec.decode(data))


def test_pillows_parser_knows_the_size_before_the_end(data: bytes) -> None:
    """As Django asks for the size of an uploaded picture."""
    parser = ImageFile.Parser()
    for begin in range(0, len(data), 1024):
        parser.feed(data[begin : begin + 1024])
        if begin == 4096:  # all metadata, and less than all layers
            assert parser.image is not None
            assert parser.image.size == (WIDTH, HEIGHT)
    assert np.array_equal(parser.close(), vqcodec.decode(data))


def test_files_are_left_when_loaded_and_closed_ones_say_so(path: Path) -> None:
    image = Image.open(path)
    file = image.fp
    assert file is not None
    image.load()
    assert file.closed
    path.unlink()
    assert image.getpixel((0, 0))
    image.close()
    with pytest.raises(ValueError, match="closed"):
        image.getpixel((0, 0))


def test_closed_before_loading(path: Path, data: bytes) -> None:
    with Image.open(path) as image:
        pass
    with pytest.raises(ValueError, match="closed"):
        image.load()
    with path.open("rb") as file:
        image = Image.open(file)
    with pytest.raises(ValueError, match="closed"):
        image.load()
    file = io.BytesIO(data)
    Image.open(file).load()
    assert not file.closed  # it is its owner's


def test_copies_pickles_and_edits(path: Path) -> None:
    with Image.open(path) as image:
        twin = copy.copy(image)
        thawed = pickle.loads(pickle.dumps(image))
        assert twin.tobytes() == thawed.tobytes() == image.tobytes()
        assert thawed.info == image.info
        image.putpixel((3, 3), (1, 2, 3))
        assert image.getpixel((3, 3)) == (1, 2, 3)
        assert twin.getpixel((3, 3)) != (1, 2, 3)


def test_a_file_is_saved_onto_itself(path: Path) -> None:
    with Image.open(path) as image:
        image.save(path, quality=30, effort=1)
    with Image.open(path) as image:
        assert image.size == (WIDTH, HEIGHT)


def test_threads(path: Path) -> None:
    def load(_: int) -> bytes:
        with Image.open(path) as image:
            return image.tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(load, range(8)))) == 1


@pytest.mark.parametrize(("asked", "size"), [((150, 110), (160, 120)), ((30, 20), (40, 30)), ((1, 1), (20, 15))])
def test_draft_is_a_small_picture_of_the_same(asked: tuple[int, int], size: tuple[int, int], data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        assert image.draft("RGB", asked) == ("RGB", (0, 0, *size))
        assert image.draft("RGB", (1, 1)) is None
        draft = np.asarray(image, dtype=float)
    whole = np.asarray(vqcodec.decode(data).reduce(WIDTH // size[0]), dtype=float)
    assert draft.shape == whole.shape
    assert np.abs(draft - whole).mean() < 3


def test_thumbnails(path: Path) -> None:
    with Image.open(path) as image:
        image.thumbnail((33, 33))
        assert image.size == (33, 25)
    with Image.open(path) as image:
        assert image.draft(None, (WIDTH, HEIGHT)) == ("RGB", (0, 0, WIDTH, HEIGHT))
        assert image.size == (WIDTH, HEIGHT)
        image.load()
        assert image.draft(None, (10, 10)) is None


def test_imageio(tmp_path: Path) -> None:
    pixels = picture(64, 48)
    path = tmp_path / "x.vqc"
    imageio.imwrite(path, pixels, plugin="pillow", quality=80, effort=1)
    again = imageio.imread(path, plugin="pillow")
    assert again.shape == pixels.shape
    assert np.array_equal(again, vqcodec.decode(path))
    assert imageio.improps(path, plugin="pillow").shape == pixels.shape
    assert imageio.immeta(path, plugin="pillow")["mode"] == "RGB"
    with pytest.raises(ValueError, match="holds one picture"):
        imageio.imwrite(path, np.stack([pixels, pixels]), plugin="pillow", is_batch=True)


def test_registering_is_cheap_and_done_once() -> None:
    program = (
        "import sys, vqcodec.pillow_plugin, vqcodec\n"
        "from PIL import Image\n"
        "vqcodec.register_pillow_plugin(); vqcodec.register_pillow_plugin()\n"
        "assert Image.ID.count('VQC') == 1 and Image.registered_extensions()['.vqc'] == 'VQC'\n"
        "assert Image.MIME['VQC'] == 'image/x-vqc'\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(not shutil.which("file"), reason="no file(1)")
def test_file_knows_it(path: Path) -> None:
    magic = ROOT / "codec" / "vqcodec" / "desktop" / "vqc.magic"
    said = subprocess.run(["file", "-m", magic, path], capture_output=True, text=True, check=True).stdout
    assert f"vqcodec image, format version 0, {WIDTH} x {HEIGHT}, colour, quality 90" in said
    said = subprocess.run(["file", "-m", magic, "-b", "--mime-type", path], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "image/x-vqc"


def test_the_shared_mime_info_says_the_same() -> None:
    space = {"m": "http://www.freedesktop.org/standards/shared-mime-info"}
    kind = (
        ElementTree.parse(ROOT / "codec" / "vqcodec" / "desktop" / "vqcodec.xml").getroot().find("m:mime-type", space)
    )
    assert kind is not None
    match, glob = kind.find("m:magic/m:match", space), kind.find("m:glob", space)
    assert match is not None
    assert glob is not None
    assert (kind.get("type"), glob.get("pattern"), match.get("offset")) == ("image/x-vqc", "*.vqc", "0")
    assert match.attrib["value"].encode().decode("unicode_escape").encode("latin-1") == vqbitstream.MAGIC
