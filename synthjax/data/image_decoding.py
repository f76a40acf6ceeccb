"""Decodes image files of common formats to arrays of one shape, by Pillow.

    read    PNG, JPEG, TIFF, WebP, BMP and GIF with one image each
    grey    grey files stay grey (C = 1), unless some images are in colour: then all are RGB (C = 3)
    colour  RGB, palettes and CMYK become RGB
    alpha   an alpha channel that is opaque everywhere is dropped; a transparent pixel is an error
    16 bit  grey levels 0 ... M become 0 ... 255, rounded; M is the least of 255, 1023, 4095, 16383 and 65535 that no
            image exceeds
    EXIF    images are turned upright
    size    all images have the same size, or are resized: scaled so that they cover the size, and cropped at the centre

Every conversion is reported by a note, and every file that cannot be used by an error that names it. The headers of all
files are checked before the first is decoded.

    x, notes = decode(paths)                     # x: (N, H, W, C) uint8
    x, notes = decode(paths, size=(64, 64))
"""

import contextlib
import io
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from synthjax.data.arrays import check_file, check_size, fault, shown
from synthjax.data.files import BROKEN, reason
from synthjax.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif")
"""Suffixes of the images that are read, in lower case."""
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
_GREY, _COLOUR = (
    ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I"),
    ("P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"),
)
_DEEP = ("I;16", "I;16B", "I;16L", "I")  # modes of 16-bit grey
DEEP = "images have 16 bits a pixel"
"""Start of the note on images whose grey levels were scaled by the brightest of all."""
_LEVELS = (255, 1023, 4095, 16383, 65535)
_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF tag, and its values that exchange height and width


Size = tuple[int, int] | None
"""Height and width to which images are resized; None: they are not."""


class Picture(NamedTuple):
    """An image file that lies in memory."""

    where: str
    """Its place, for error messages."""
    content: bytes


class _Header(NamedTuple):
    """What the header of an image file says."""

    height: int
    width: int
    mode: str
    turned: bool


def parse_size(text: str) -> Size:
    """Reads an image size, "64" or "48x64" (height x width); None if the text is empty.

    Raises:
        InputError: it is no size.
    """
    if not text:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() and 0 < int(side) <= 4096 for side in sides):
        raise InputError(f"image_size={shown(text)}: such as 64, or 48x64 for height x width, at most 4096 each")
    return int(sides[0]), int(sides[-1])


def decode(sources: Sequence[Path | Picture], size: Size = None) -> tuple[np.ndarray, list[str]]:
    """Decodes image files.

    Args:
        sources: at least one file, or its content.
        size: height and width to which images are resized; None: all must have the same size.

    Returns:
        (N, H, W, C) uint8, C 1 or 3, in the order of the sources; and notes, lines that say what was converted.

    Raises:
        InputError: a file cannot be read, is of another format, or of another size than the first. It is named.
    """
    headers = [_header(source) for source in sources]
    if size is None:
        usual = " x ".join(map(str, headers[0][:2]))
        for source, header in zip(sources, headers, strict=True):
            if header[:2] != headers[0][:2]:
                sides = f"{header.height} x {header.width} pixels (height x width)"
                other = f"{shown(_place(sources[0]))} of {usual}"
                raise fault(_place(source), f"is of {sides}, but {other}; --image_size=N resizes all")
    height, width = size or headers[0][:2]
    grey, deep = [h.mode in _GREY for h in headers], [h.mode in _DEEP for h in headers]
    if any(deep) and not all(deep):
        raise fault(
            _place(sources[deep.index(True)]), "has 16 bits a pixel, others have 8; save all with the same depth"
        )
    channels = 1 if all(grey) else 3
    shape = (len(sources), height, width, channels)
    check_size(shape, 1 + any(deep), _place(sources[0]))
    x = np.empty(shape, np.uint16 if any(deep) else np.uint8)
    done: Counter[str] = Counter()
    for row, (source, header) in enumerate(zip(sources, headers, strict=True)):
        x[row] = _pixels(source, header, ("L" if channels == 1 else "RGB", (height, width)), done)
    done["are turned upright, as their EXIF says"] = sum(header.turned for header in headers)
    if channels == 3:
        done["are grey and stored as RGB, since others are in colour"] = sum(grey)
    if size is not None:
        what = f"are resized to {height} x {width} pixels (height x width), what does not fit being cropped"
        done[what] = sum(header[:2] != size for header in headers)
    notes = [f"{count:,} of {len(sources):,} images {what}" for what, count in done.items() if count]
    if any(deep):
        top = int(x.max())
        white = next(levels for levels in _LEVELS if top <= levels)
        x = np.rint(x * (255 / white)).astype(np.uint8)
        notes.append(f"{DEEP}, at most {top:,}: 0 ... {white:,} become 0 ... 255")
    return x, notes


def resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes images (N, H, W, C) uint8 as `decode` does, to (N, *size, C)."""
    from PIL import Image

    if x.shape[1:3] == size:
        return x
    check_size((len(x), *size, x.shape[3]), 1, "images")
    out = np.empty((len(x), *size, x.shape[3]), np.uint8)
    for row, image in enumerate(x):
        out[row] = np.asarray(_fitted(Image.fromarray(image.squeeze(-1) if x.shape[3] == 1 else image), size)).reshape(
            out.shape[1:]
        )
    return out


def _place(source: Path | Picture) -> str:
    return source.where if isinstance(source, Picture) else str(source)


@contextlib.contextmanager
def _opened(source: Path | Picture) -> Iterator["Image.Image"]:
    """Opens an image file and reads its header. Exceptions of Pillow while it is open become InputErrors."""
    from PIL import Image

    if isinstance(source, Path):
        check_file(source)
    try:
        file = io.BytesIO(source.content) if isinstance(source, Picture) else source
        with Image.open(file, formats=_FORMATS) as image:
            yield image
    except InputError:
        raise
    except (SyntaxError, struct.error, Image.DecompressionBombError, *BROKEN) as error:
        raise fault(_place(source), f"not a readable image: {reason(error)}") from error


def _header(source: Path | Picture) -> _Header:
    """Checks the header of an image file."""
    with _opened(source) as image:
        if image.mode not in (*_GREY, *_COLOUR):
            raise fault(_place(source), f"an image of mode {image.mode}; grey of 8 or 16 bits, and RGB are read")
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise fault(_place(source), f"has {image.n_frames} frames or pages; single images are read")  # type: ignore[attr-defined]
        check_size((image.height, image.width, len(image.mode)), 1, _place(source))
        known = image.format != "PNG" or "exif" in image.info  # for others Pillow would decode the whole PNG
        orientation = image.getexif().get(_ORIENTATION, 1) if known else 1
        sides = (image.height, image.width)
        return _Header(*(sides[::-1] if orientation in _SIDEWAYS else sides), image.mode, orientation in range(2, 9))


def _pixels(
    source: Path | Picture, header: _Header, form: tuple[str, tuple[int, int]], done: Counter[str]
) -> np.ndarray:
    """Decodes an image to (H, W, C) of a mode and a size, and counts in `done` what was converted."""
    from PIL import Image, ImageOps

    mode, size = form
    with _opened(source) as image:
        upright = ImageOps.exif_transpose(image) if header.turned else image
        if "A" in upright.getbands() or "transparency" in upright.info:
            if upright.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise fault(_place(source), "has transparent pixels; put it on a background")
            done["have an alpha channel, which is opaque and is dropped"] += "A" in upright.getbands()
        done["are CMYK and become RGB"] += upright.mode == "CMYK"
        if upright.mode in _DEEP:
            values = np.asarray(upright).astype(np.int32)
            if values.min() < 0 or values.max() > _LEVELS[-1]:
                raise fault(
                    _place(source), f"has grey levels {values.min()} ... {values.max()}; at most 16 bits are read"
                )
            return (
                np.asarray(_fitted(Image.fromarray(values.astype(np.float32)), size)).round()[..., None].clip(0, 65535)
            )
        return np.asarray(_fitted(upright.convert(mode), size)).reshape(*size, -1)


def _fitted(image: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    """Scales an image so that it covers `size` (height, width), and crops it at the centre."""
    from PIL import ImageOps

    return image if (image.height, image.width) == size else ImageOps.fit(image, size[::-1])
