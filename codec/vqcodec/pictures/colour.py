"""Which ICC profile a picture keeps: its own, if it can belong to it, or one made of what else its file says; and how to do without."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageCms

from vqcodec.pictures import profiles
from vqcodec.pictures.labels import SRGB_CURVE, Label
from vqcodec.pictures.planes import ImageError


def settle(metadata: dict[str, bytes], label: Label | None, mode: str, name: str, *, force_sdr: bool) -> None:
    """Set or remove "icc" in the metadata of a picture; an ICC profile rules over a label.

    Args:
        metadata: See `Planes`.
        label: What the file says outside its profile.
        mode: "L", "LA", "RGB" or "RGBA".
        name: Of the picture, for messages.
        force_sdr: Take HDR as if it were ordinary, with a warning.

    Raises:
        ImageError: It is HDR, and `force_sdr` is not set.
    """
    profile = metadata.get("icc", b"")
    if hdr := (label.hdr if label else "") or profiles.hdr_of(profile):
        if not force_sdr:
            raise ImageError(
                f"{name}: HDR ({hdr}), which would look wrong in 8 bits; force_sdr (--force-sdr) takes it as it is"
            )
        warnings.warn(f"{name}: HDR ({hdr}), taken as an ordinary picture", stacklevel=6)
        metadata.pop("icc", None)
        return
    if profile and not profiles.belongs(profile, mode):
        warnings.warn(f"{name}: its ICC profile cannot belong to it, and is left out", stacklevel=6)
        del metadata["icc"]
    if "icc" in metadata or label is None or label.ordinary:
        return
    if label.primaries is None or label.curve is None:
        warnings.warn(f"{name}: its colours ({label.source}) are not known here, and are taken as sRGB", stacklevel=6)
        return
    grey = mode in ("L", "LA")
    if grey and label.curve == SRGB_CURVE:  # primaries mean nothing here
        return
    metadata["icc"] = profiles.made(f"from {label.source}", label.primaries, label.curve, grey=grey)


def in_srgb(image: Image.Image, profile: bytes, name: str) -> Image.Image:
    """A picture of mode L, LA, RGB or RGBA that looks the same without its ICC profile: it is converted, unless that is sRGB's.

    Args:
        image: The picture.
        profile: Empty if it has none.
        name: Of the picture, for messages.
    """
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(source).lower().startswith("srgb"):
            return image
        colours = image.getchannel("L") if image.mode in ("L", "LA") else image.convert("RGB")
        converted = ImageCms.profileToProfile(colours, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert converted is not None
    except (ImageCms.PyCMSError, OSError):
        warnings.warn(f"{name}: its ICC profile is not usable; colours are approximate", stacklevel=6)
        return image
    if image.mode in ("L", "LA"):
        converted = converted.getchannel("G")
    if image.mode in ("LA", "RGBA"):
        converted.putalpha(image.getchannel("A"))
    return converted
