"""`resize_image`: a smaller (or larger) picture from a data URI or a file below IMAGE_FOLDER. Runs in a process."""

import base64
import binascii
import errno
import io
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from PIL import Image, ImageOps, UnidentifiedImageError

from workqueue.core.errors import ArtifactRefused, PermanentFailure
from workqueue.core.job import ARTIFACT_BYTES_MAX, Job
from workqueue.services.worker.handlers.payload import read, wrong

INPUT_BYTES_MAX = 20 * 1024 * 1024
PIXELS_MAX = 64_000_000  #: of the picture that is read and of the one that is made
SIDE_MAX = 10_000
READ_SIDE_MAX = 65_535  #: what a JPEG can have; the weights for a side of 64,000,000 would take 3 GB
MEMORY_MAX = 512 * 1024 * 1024  #: for one picture; what a worker has for all of them together

#: Bytes for each pixel, measured and rounded up: the picture as it is decoded, converted and taken along.
READ_BYTES = {"L": 8, "RGB": 8, "1": 12, "P": 12, "RGBA": 12, "CMYK": 12, "YCbCr": 12}
READ_BYTES_ELSE = 16
READ_BYTES_WEBP = 20  #: its decoder keeps two canvases beside the picture
READ_BYTES_TIFF = 4  #: besides: a strip may be the whole picture
READ_BYTES_PROGRESSIVE = 6  #: besides: all coefficients, until the last scan has come
MADE_BYTES = {"png": 12, "jpeg": 8, "webp": 24}

RESULT_IMAGE_BYTES_MAX = 256 * 1024  #: without Postgres a picture up to this stands in the result
OPENED = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
WRITTEN = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}

#: What Pillow's decoders raise for broken files: the first five came when 400,000 files of all the formats
#: with bytes changed were read, the others stand in its code.
BROKEN = (OSError, SyntaxError, ValueError, TypeError, struct.error, LookupError, EOFError, ArithmeticError)

NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM,
                errno.EISDIR, errno.ENXIO}  # fmt: skip

#: Its error is for more than twice as many.
Image.MAX_IMAGE_PIXELS = PIXELS_MAX // 2

Side = Annotated[int, Meta(ge=1, le=SIDE_MAX)]


class Resize(Struct):
    """The payload. new_x and new_y are the old names of width and height."""

    image: str | None = None
    path: str | None = None
    width: Side | None = None
    height: Side | None = None
    new_x: Side | None = None
    new_y: Side | None = None
    keep_proportion: bool = True
    format: Literal["png", "jpeg", "webp"] | None = None
    image_url: object = None


def _granted(memory_bytes: int) -> None:
    """For callers without a limit of memory."""


class ResizeImage:
    """The handler, with the one folder that it may read."""

    def __init__(self, folder: str | None, reserve: Callable[[int], None] = _granted) -> None:
        """`reserve` waits until so many bytes may be used."""
        self._folder = Path(folder).resolve() if folder else None
        self._reserve = reserve

    def __call__(self, job: Job) -> object:
        """Attach `image.<format>`; returns its width, height, format and size in bytes."""
        wanted = read(job.payload, Resize)
        width, height = wanted.width or wanted.new_x, wanted.height or wanted.new_y
        if width is None and height is None:
            raise wrong("width", "missing: give width, height or both")
        content = self._content(wanted)
        field = "image" if wanted.image is not None else "path"
        picture = opened(content, field)
        written = wanted.format or (picture.format or "").lower()
        if written not in WRITTEN:
            written = "png"

        def sized(size: tuple[int, int]) -> tuple[int, int]:
            return new_size(size, width, height, keep_proportion=wanted.keep_proportion)

        memory = _memory_bytes(picture, sized, written, field)
        self._reserve(memory)
        picture = loaded(picture, field)
        if _memory_bytes(picture, sized, written, field) > memory:
            raise wrong(field, "the picture is larger than it says at its begin")
        size = sized(picture.size)
        resized = resize(picture, size, written)
        result: dict[str, object] = {"width": size[0], "height": size[1], "format": written, "bytes": len(resized)}
        if len(resized) > ARTIFACT_BYTES_MAX:
            raise PermanentFailure(
                f"the picture would have {len(resized)} bytes, at most {ARTIFACT_BYTES_MAX} are kept"
            )
        try:
            job.attach(f"image.{written}", resized, f"image/{written}")
        except ArtifactRefused:  # no Postgres: a small one can stand in the result
            if len(resized) > RESULT_IMAGE_BYTES_MAX:
                raise
            result["image"] = f"data:image/{written};base64,{base64.b64encode(resized).decode()}"
        return result

    def _content(self, wanted: Resize) -> bytes:
        if wanted.image_url is not None:
            raise wrong(
                "image_url", "addresses are not fetched; send the picture as a data URI in `image`, or a `path`"
            )
        if wanted.image is not None and wanted.path is not None:
            raise wrong("path", "give `image` or `path`, not both")
        if wanted.image is not None:
            return _from_data_uri(wanted.image)
        if wanted.path is not None:
            return self._from_folder(wanted.path)
        raise wrong("image", "missing: give `image` (a data URI) or `path` (a file below IMAGE_FOLDER)")

    def _from_folder(self, path: str) -> bytes:
        if self._folder is None:
            raise wrong("path", "files can be read only where the worker has IMAGE_FOLDER set")
        refusal = wrong("path", "expected the path of a file below IMAGE_FOLDER, relative to it")
        try:
            file = (self._folder / path).resolve(strict=True)  # links are followed before we look where it lies
            if Path(path).is_absolute() or not file.is_relative_to(self._folder):
                raise refusal
            with open(file, "rb", opener=_without_waiting) as found:
                if not stat.S_ISREG(os.fstat(found.fileno()).st_mode):
                    raise refusal
                content = found.read(INPUT_BYTES_MAX + 1)
        except OSError as error:
            if error.errno not in NO_SUCH_FILE:  # of the machine, not of the payload: worth a retry
                raise
            raise refusal from None
        except (ValueError, RuntimeError):  # NUL, a lone surrogate; links in a circle, before Python 3.13
            raise refusal from None
        if len(content) > INPUT_BYTES_MAX:
            raise wrong("path", f"the file is larger than {INPUT_BYTES_MAX} bytes")
        return content


def _without_waiting(path: str, flags: int) -> int:
    """Opening a FIFO would wait for a writer; and a link may have been put there since we looked."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _from_data_uri(uri: str) -> bytes:
    head, comma, text = uri.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise wrong("image", "expected a data URI: data:image/png;base64,...")
    too_large = wrong("image", f"the picture is larger than {INPUT_BYTES_MAX} bytes")
    if len(text) > (INPUT_BYTES_MAX + 2) // 3 * 4:
        raise too_large
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise wrong("image", "the data URI is no valid base64") from None
    if len(content) > INPUT_BYTES_MAX:
        raise too_large
    return content


def opened(content: bytes, field: str) -> Image.Image:
    """The picture with its head read, and not decoded yet. Raises PermanentFailure naming `field`."""
    with _readable(field):
        if (canvas := _webp_canvas(content)) is not None and canvas[0] * canvas[1] > PIXELS_MAX:
            raise _too_many_pixels(field)  # its decoder makes room for the canvas as soon as it is opened
        picture = Image.open(io.BytesIO(content), formats=OPENED)
    if picture.width * picture.height > PIXELS_MAX:
        raise _too_many_pixels(field)
    if max(picture.size) > READ_SIDE_MAX:
        raise wrong(field, f"the picture has {max(picture.size)} pixels on a side, at most {READ_SIDE_MAX} are read")
    return picture


def loaded(picture: Image.Image, field: str) -> Image.Image:
    """The picture, decoded and upright; animated: the first frame. Raises PermanentFailure naming `field`."""
    with _readable(field):
        picture.load()
    with suppress(*BROKEN):  # what the camera noted cannot be read; the picture can
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


@contextmanager
def _readable(field: str) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # found by Pillow while it decodes
        raise _too_many_pixels(field) from None
    except UnidentifiedImageError:  # its text names our buffer
        raise wrong(field, f"cannot be read as {', '.join(OPENED)}") from None
    except BROKEN as error:
        raise wrong(field, f"cannot be read as {', '.join(OPENED)}: {error}"[:500]) from None


def _webp_canvas(content: bytes) -> tuple[int, int] | None:
    """Width and height out of the head of a WebP; None for anything else."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP" or len(content) < 30:
        return None
    if content[12:16] == b"VP8X":
        return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1
    if content[12:16] == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", content[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _memory_bytes(
    picture: Image.Image, sized: Callable[[tuple[int, int]], tuple[int, int]], written: str, field: str
) -> int:
    """The bytes that reading, resizing and writing take at most. Raises PermanentFailure above MEMORY_MAX."""
    each = READ_BYTES_WEBP if picture.format == "WEBP" else READ_BYTES.get(picture.mode, READ_BYTES_ELSE)
    each += READ_BYTES_TIFF * (picture.format == "TIFF") + READ_BYTES_PROGRESSIVE * ("progressive" in picture.info)
    most = 0
    for size in (picture.size, picture.size[::-1]):  # it may have to be turned
        made = sized(size)
        if made[0] * made[1] > PIXELS_MAX:
            raise wrong("width", f"{made[0]} x {made[1]} pixels are too many, at most {PIXELS_MAX} are made")
        between = 4 * made[0] * size[1]  # its width is changed first
        most = max(most, each * size[0] * size[1] + between + MADE_BYTES[written] * made[0] * made[1])
    if most > MEMORY_MAX:
        width, height = sized(picture.size)
        raise wrong(
            field,
            f"{picture.width} x {picture.height} pixels ({picture.format}, {picture.mode}) to {width} x {height} "
            f"({WRITTEN[written]}) would take {most >> 20} MiB of memory, at most {MEMORY_MAX >> 20} MiB are given",
        )
    return most


def _too_many_pixels(field: str) -> PermanentFailure:
    return wrong(field, f"the picture has too many pixels, at most {PIXELS_MAX} are read")


def resize(picture: Image.Image, size: tuple[int, int], written: str) -> bytes:
    """`picture` in its new size as a file of format `written`, without what a camera or a program noted in it."""
    profile = picture.info.get("icc_profile")
    plain = _plain(picture)
    if written == "jpeg" and plain.mode == "RGBA":
        plain = _on_white(plain)
    if profile is not None and profile[16:20] != (b"GRAY" if plain.mode == "L" else b"RGB "):
        profile = None  # of the colours that the picture had before
    out = io.BytesIO()
    plain.resize(size, Image.Resampling.LANCZOS).save(out, WRITTEN[written], icc_profile=profile)
    return out.getvalue()


def new_size(size: tuple[int, int], width: int | None, height: int | None, *, keep_proportion: bool) -> tuple[int, int]:
    """The size to resize to: the given box, or the largest of the same proportion inside of it; 1 pixel at least."""
    if width is not None and height is not None and not keep_proportion:
        return width, height
    scale = min((width or SIDE_MAX) / size[0], (height or SIDE_MAX) / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _plain(picture: Image.Image) -> Image.Image:
    """In one of the modes that every format can be written in: RGB, RGBA, L."""
    if picture.has_transparency_data:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode in {"RGB", "L"}:
        return picture
    if picture.mode.startswith("I;16"):
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if picture.mode in {"I", "F"}:
        raise wrong("image", "pictures with 32 bits a pixel of grey have no known white")
    try:
        return picture.convert("L" if picture.mode == "1" else "RGB")
    except ValueError:
        raise wrong("image", f"pictures in colour mode {picture.mode} cannot be converted") from None


def _on_white(picture: Image.Image) -> Image.Image:
    """JPEG knows no transparency."""
    background = Image.new("RGB", picture.size, "white")
    background.paste(picture, mask=picture.getchannel("A"))
    return background
