"""`resize_image`: a smaller (or larger) picture from a data URI or a file below IMAGE_FOLDER. Runs in a thread."""

import base64
import binascii
import errno
import io
import struct
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import ArtifactRefused, PermanentFailure
from core.job import ARTIFACT_BYTES_MAX, Job
from services.worker.handlers.payload import read, wrong

INPUT_BYTES_MAX = 20 * 1024 * 1024
PIXELS_MAX = 64_000_000  #: of the picture that is read and of the one that is made; 4 bytes each
SIDE_MAX = 10_000
RESULT_IMAGE_BYTES_MAX = 256 * 1024  #: without Postgres a picture up to this stands in the result
OPENED = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
WRITTEN = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}

#: What Pillow's decoders raise for broken files: the first five came when 400,000 files of all the formats
#: with bytes changed were read, the others stand in its code.
BROKEN = (OSError, SyntaxError, ValueError, TypeError, struct.error, LookupError, EOFError, ArithmeticError)

NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM}

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


class ResizeImage:
    """The handler, with the one folder that it may read."""

    def __init__(self, folder: str | None) -> None:
        self._folder = Path(folder).resolve() if folder else None

    def __call__(self, job: Job) -> object:
        """Attach `image.<format>`; returns its width, height, format and size in bytes."""
        wanted = read(job.payload, Resize)
        width, height = wanted.width or wanted.new_x, wanted.height or wanted.new_y
        if width is None and height is None:
            raise wrong("width", "missing: give width, height or both")
        content = self._content(wanted)
        field = "image" if wanted.image is not None else "path"
        picture = decode(content, field)
        size = new_size(picture.size, width, height, keep_proportion=wanted.keep_proportion)
        written = wanted.format or (picture.format or "").lower()
        if written not in WRITTEN:
            written = "png"
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
            if Path(path).is_absolute() or not file.is_relative_to(self._folder) or not file.is_file():
                raise refusal
            with file.open("rb") as opened:
                content = opened.read(INPUT_BYTES_MAX + 1)
        except OSError as error:
            if error.errno not in NO_SUCH_FILE:  # of the machine, not of the payload: worth a retry
                raise
            raise refusal from None
        except (ValueError, RuntimeError):  # NUL, a lone surrogate; links in a circle, before Python 3.13
            raise refusal from None
        if len(content) > INPUT_BYTES_MAX:
            raise wrong("path", f"the file is larger than {INPUT_BYTES_MAX} bytes")
        return content


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


def decode(content: bytes, field: str) -> Image.Image:
    """The picture, upright; animated: the first frame. Raises PermanentFailure naming `field`."""
    try:
        opened = Image.open(io.BytesIO(content), formats=OPENED)
        if opened.width * opened.height > PIXELS_MAX:  # read from the header: nothing is decoded yet
            raise _too_many_pixels(field)
        opened.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # above Pillow's limits; ours is lower
        raise _too_many_pixels(field) from None
    except UnidentifiedImageError:  # its text speaks of our buffer
        raise wrong(field, f"cannot be read as {', '.join(OPENED)}") from None
    except BROKEN as error:
        raise wrong(field, f"cannot be read as {', '.join(OPENED)}: {error}"[:500]) from None
    with suppress(*BROKEN):  # what the camera noted cannot be read; the picture can
        ImageOps.exif_transpose(opened, in_place=True)
    return opened


def _too_many_pixels(field: str) -> PermanentFailure:
    return wrong(field, f"the picture has too many pixels, at most {PIXELS_MAX} are read")


def resize(picture: Image.Image, size: tuple[int, int], written: str) -> bytes:
    """`picture` in its new size as a file of format `written`, without what a camera or a program noted in it."""
    if size[0] * size[1] > PIXELS_MAX:
        raise wrong("width", f"{size[0]} x {size[1]} pixels are too many, at most {PIXELS_MAX} are made")
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
