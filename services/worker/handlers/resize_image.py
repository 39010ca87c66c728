"""`resize_image`: a smaller (or larger) picture from a data URI or a file below IMAGE_FOLDER. Runs in a thread."""

import base64
import binascii
import io
import warnings
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import ArtifactRefused, PermanentFailure
from core.job import ARTIFACT_BYTES_MAX, Job
from services.worker.handlers.payload import read, wrong

INPUT_BYTES_MAX = 20 * 1024 * 1024
PIXELS_MAX = 64_000_000
SIDE_MAX = 10_000
RESULT_IMAGE_BYTES_MAX = 256 * 1024  #: without Postgres a picture up to this stands in the result
OPENED = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
WRITTEN = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}

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
        resized, written = resize(content, width, height, keep_proportion=wanted.keep_proportion, output=wanted.format)
        result: dict[str, object] = {"format": written, "bytes": len(resized)}
        with Image.open(io.BytesIO(resized)) as image:
            result |= {"width": image.width, "height": image.height}
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
        if wanted.image is not None:
            return _from_data_uri(wanted.image)
        if wanted.path is not None:
            return self._from_folder(wanted.path)
        if wanted.image_url is not None:
            raise wrong(
                "image_url", "addresses are not fetched; send the picture as a data URI in `image`, or a `path`"
            )
        raise wrong("image", "missing: give `image` (a data URI) or `path` (a file below IMAGE_FOLDER)")

    def _from_folder(self, path: str) -> bytes:
        if self._folder is None:
            raise wrong("path", "files can be read only where the worker has IMAGE_FOLDER set")
        refusal = wrong("path", "expected the path of a file below IMAGE_FOLDER, relative to it")
        if "\0" in path or Path(path).is_absolute():
            raise refusal
        try:
            file = (self._folder / path).resolve(strict=True)  # links are followed before we look where it lies
            if not file.is_relative_to(self._folder) or not file.is_file():
                raise refusal
            if file.stat().st_size > INPUT_BYTES_MAX:
                raise wrong("path", f"the file is larger than {INPUT_BYTES_MAX} bytes")
            return file.read_bytes()
        except OSError:
            raise refusal from None


def _from_data_uri(uri: str) -> bytes:
    head, comma, text = uri.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise wrong("image", "expected a data URI: data:image/png;base64,...")
    if len(text) > INPUT_BYTES_MAX * 4 // 3 + 4:
        raise wrong("image", f"the picture is larger than {INPUT_BYTES_MAX} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise wrong("image", "the data URI is no valid base64") from None


def resize(
    content: bytes, width: int | None, height: int | None, *, keep_proportion: bool, output: str | None
) -> tuple[bytes, str]:
    """The picture in its new size, and its format. Animated: the first frame. Raises PermanentFailure."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below Pillow's
            with Image.open(io.BytesIO(content), formats=OPENED) as opened:
                if opened.width * opened.height > PIXELS_MAX:  # read from the header: nothing is decoded yet
                    raise wrong("image", f"{opened.width} x {opened.height} pixels are too many, at most {PIXELS_MAX}")
                written = output or (opened.format or "PNG").lower()
                written = written if written in WRITTEN else "png"
                image = ImageOps.exif_transpose(opened)
                size = new_size(image.size, width, height, keep_proportion=keep_proportion)
                if written == "jpeg" and image.mode not in {"RGB", "L"}:
                    image = _on_white(image)
                elif image.mode in {"P", "1"}:
                    image = image.convert("RGBA")
                out = io.BytesIO()
                image.resize(size, Image.Resampling.LANCZOS).save(out, WRITTEN[written])
                return out.getvalue(), written
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise wrong("image", f"cannot be read as {', '.join(OPENED)}: {error}") from None


def new_size(size: tuple[int, int], width: int | None, height: int | None, *, keep_proportion: bool) -> tuple[int, int]:
    """The size to resize to: the given box, or the largest of the same proportion inside of it; 1 pixel at least."""
    old_width, old_height = size
    if width is not None and height is not None and not keep_proportion:
        return width, height
    scale = min(
        width / old_width if width is not None else float("inf"),
        height / old_height if height is not None else float("inf"),
    )
    return (
        min(SIDE_MAX, max(1, round(old_width * scale))),
        min(SIDE_MAX, max(1, round(old_height * scale))),
    )


def _on_white(image: Image.Image) -> Image.Image:
    """JPEG knows no transparency."""
    image = image.convert("RGBA")
    background = Image.new("RGB", image.size, "white")
    background.paste(image, mask=image.getchannel("A"))
    return background
