import base64
import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import PermanentFailure
from services.worker.handlers.resize_image import SIDE_MAX, ResizeImage, new_size
from tests.worker.handlers.support import job


def picture(width: int, height: int, *, mode: str = "RGB", kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), "red" if mode in {"RGB", "RGBA"} else 0).save(out, kind, **options)
    return out.getvalue()


def uri(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def resized(payload: dict[str, object], folder: str | None = None) -> Image.Image:
    done = job(payload)
    result = ResizeImage(folder)(done)
    [artifact] = done.artifacts
    image = Image.open(io.BytesIO(artifact.content))
    assert isinstance(result, dict)
    assert (result["width"], result["height"]) == image.size
    assert result["bytes"] == len(artifact.content)
    assert artifact.content_type == f"image/{result['format']}"
    return image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_gets_smaller_and_keeps_its_proportion(kind):
    image = resized({"image": uri(picture(400, 200, kind=kind), kind.lower()), "width": 100})
    assert image.size == (100, 50)


def test_the_old_names_of_the_sides_work():
    assert resized({"image": uri(picture(400, 200)), "new_x": 100, "new_y": 100}).size == (100, 50)


def test_the_proportion_is_given_up_when_told():
    payload = {"image": uri(picture(400, 200)), "width": 30, "height": 90, "keep_proportion": False}
    assert resized(payload).size == (30, 90)


def test_transparency_becomes_white_in_a_jpeg():
    content = io.BytesIO()
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(content, "PNG")
    image = resized({"image": uri(content.getvalue()), "width": 10, "format": "jpeg"})
    assert image.format == "JPEG"
    assert min(image.convert("RGB").getpixel((5, 5))) > 250  # type: ignore[type-var, arg-type]


def test_the_orientation_of_a_camera_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image = resized({"image": uri(picture(400, 200, kind="JPEG", exif=exif), "jpeg"), "height": 100})
    assert image.size == (50, 100)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is huge and holds almost nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({}, "payload.width: missing: give width, height or both"),
        ({"width": 1}, "payload.image: missing: give `image` (a data URI) or `path` (a file below IMAGE_FOLDER)"),
        ({"width": 0}, "payload.width: expected a whole number >= 1"),
        ({"width": "1"}, "payload.width: expected a whole number or null, got a string"),
        ({"image": "https://example.com/x.png", "width": 1}, "payload.image: expected a data URI"),
        ({"image_url": "https://example.com/x.png", "width": 1}, "payload.image_url: addresses are not fetched"),
        ({"image": "data:image/png;base64,%%%", "width": 1}, "payload.image: the data URI is no valid base64"),
        ({"image": uri(b"no picture"), "width": 1}, "payload.image: cannot be read as PNG"),
        ({"image": uri(picture(50, 50)[:60]), "width": 1}, "payload.image: cannot be read as PNG"),
        ({"image": uri(bomb(9_000, 9_000)), "width": 1}, "payload.image: 9000 x 9000 pixels are too many"),
        ({"image": uri(bomb(30_000, 30_000)), "width": 1}, "payload.image: cannot be read as PNG"),
        ({"path": "x.png", "width": 1}, "payload.path: files can be read only where the worker has IMAGE_FOLDER set"),
    ],
)
def test_a_wrong_payload_fails_for_good_and_names_the_field(payload, sentence):
    with pytest.raises(PermanentFailure) as caught:
        ResizeImage(None)(job(payload))
    assert str(caught.value).startswith(sentence)


def test_a_file_below_the_folder_is_read(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(picture(40, 20))
    assert resized({"path": "in/a.png", "width": 20}, str(tmp_path)).size == (20, 10)


@pytest.mark.parametrize(
    "path", ["../secret.png", "/etc/passwd", "link.png", "folder/../../secret.png", "no.png", ".", "a\0b"]
)
def test_nothing_outside_of_the_folder_is_read(tmp_path, path):
    folder = tmp_path / "images"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(picture(40, 20))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(PermanentFailure, match=r"payload\.path: expected the path of a file below IMAGE_FOLDER"):
        ResizeImage(str(folder))(job({"path": path, "width": 10}))


def test_without_postgres_a_small_picture_stands_in_the_result():
    done = job({"image": uri(picture(40, 20)), "width": 10}, keeps_artifacts=False)
    result = ResizeImage(None)(done)
    assert isinstance(result, dict)
    content = base64.b64decode(result["image"].partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (10, 5)


SIDES = st.integers(1, SIDE_MAX)


@given(SIDES, SIDES, SIDES, SIDES)
def test_the_new_size_fits_into_the_box_and_fills_one_side(old_width, old_height, width, height):
    size = new_size((old_width, old_height), width, height, keep_proportion=True)
    assert 1 <= size[0] <= width
    assert 1 <= size[1] <= height
    assert size[0] == width or size[1] == height
