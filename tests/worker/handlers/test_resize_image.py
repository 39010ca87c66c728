import base64
import io
import os
import random
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.worker.handlers.support import job
from workqueue.core.errors import ArtifactRefused, PermanentFailure
from workqueue.services.worker.handlers.resize_image import SIDE_MAX, ResizeImage, loaded, new_size, opened


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


def pixel_of(image: Image.Image) -> tuple[int, ...]:
    """One pixel of a picture with several channels."""
    found = image.getpixel((5, 5))
    assert isinstance(found, tuple)
    return tuple(map(int, found))


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
    assert min(pixel_of(image.convert("RGB"))) > 250


def test_the_orientation_of_a_camera_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image = resized({"image": uri(picture(400, 200, kind="JPEG", exif=exif), "jpeg"), "height": 100})
    assert image.size == (50, 100)


def test_an_orientation_that_cannot_be_read_is_ignored():
    content = picture(400, 200, exif=b"Exif\0\0nonsense")
    assert resized({"image": uri(content), "width": 100}).size == (100, 50)


def test_the_first_frame_of_a_moving_picture_is_taken():
    out = io.BytesIO()
    first, second = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")
    first.save(out, "GIF", save_all=True, append_images=[second])
    image = resized({"image": uri(out.getvalue(), "gif"), "width": 10})
    assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
    assert getattr(image, "n_frames", 1) == 1


@pytest.mark.parametrize("written", ["png", "jpeg", "webp"])
@pytest.mark.parametrize(
    ("mode", "color", "kind", "shown"),
    [
        ("1", 1, "PNG", (255, 255, 255)),
        ("L", 200, "PNG", (200, 200, 200)),
        ("LA", (200, 255), "PNG", (200, 200, 200)),
        ("RGBA", (200, 100, 0, 255), "PNG", (200, 100, 0)),
        ("I;16", 40_000, "PNG", (156, 156, 156)),
        ("CMYK", (0, 255, 255, 0), "JPEG", (255, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("YCbCr", (76, 85, 255), "JPEG", (254, 0, 0)),
    ],
)
def test_every_colour_mode_can_be_written_in_every_format(mode, color, kind, shown, written):
    out = io.BytesIO()
    Image.new(mode, (20, 20), color).save(out, kind)
    image = resized({"image": uri(out.getvalue()), "width": 10, "format": written})
    assert image.format == written.upper()
    found = pixel_of(image.convert("RGB"))
    assert max(abs(a - b) for a, b in zip(found, shown, strict=True)) <= 3


def test_a_transparent_colour_stays_transparent():
    content = picture(20, 20, transparency=(255, 0, 0))
    image = resized({"image": uri(content), "width": 10})
    assert pixel_of(image)[3] == 0


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_colours_stay_described_and_what_the_camera_noted_does_not_stay(kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "at home"
    image = resized({"image": uri(picture(20, 20, kind=kind, icc_profile=profile, exif=exif)), "width": 10})
    assert image.info["icc_profile"] == profile
    assert not image.getexif()


def test_a_profile_of_colours_that_were_converted_is_left_out():
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"CMYK"
    content = picture(20, 20, mode="CMYK", kind="JPEG", icc_profile=bytes(profile))
    assert "icc_profile" not in resized({"image": uri(content), "width": 10}).info


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
        # Above our limit, above that at which Pillow warns, and above that at which it refuses:
        ({"image": uri(bomb(9_000, 9_000)), "width": 1}, "payload.image: the picture has too many pixels"),
        ({"image": uri(bomb(10_000, 10_000)), "width": 1}, "payload.image: the picture has too many pixels"),
        ({"image": uri(bomb(30_000, 30_000)), "width": 1}, "payload.image: the picture has too many pixels"),
        ({"image": uri(picture(9, 9)), "width": 10_000}, "payload.width: 10000 x 10000 pixels are too many"),
        ({"image": uri(picture(9, 9)), "width": 10_001}, "payload.width: expected a whole number <= 10000"),
        ({"image": uri(picture(9, 9, kind="ICO")), "width": 1}, "payload.image: cannot be read as PNG"),
        (
            {"image": uri(b"a" * (20 * 1024 * 1024 + 1)), "width": 1},
            "payload.image: the picture is larger than 20971520",
        ),
        ({"image": uri(picture(9, 9)), "path": "x.png", "width": 1}, "payload.path: give `image` or `path`, not both"),
        ({"image": uri(picture(9, 9)), "width": 1, "format": "gif"}, "payload.format: invalid enum value 'gif'"),
        ({"image": uri(picture(9, 9, mode="F", kind="TIFF")), "width": 1}, "payload.image: pictures with 32 bits"),
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


def test_an_absolute_path_is_refused_even_below_the_folder(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(40, 20))
    with pytest.raises(PermanentFailure, match=r"payload\.path: expected the path of a file below IMAGE_FOLDER"):
        ResizeImage(str(tmp_path))(job({"path": str(tmp_path / "a.png"), "width": 10}))


def test_a_link_that_stays_in_the_folder_is_followed(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(40, 20))
    (tmp_path / "b.png").symlink_to("a.png")
    assert resized({"path": "b.png", "width": 20}, str(tmp_path)).size == (20, 10)


def test_a_file_that_is_too_large_is_refused(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(20 * 1024 * 1024 + 1)
    with pytest.raises(PermanentFailure, match=r"payload\.path: the file is larger than 20971520 bytes"):
        ResizeImage(str(tmp_path))(job({"path": "a.png", "width": 10}))


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "/etc/passwd",
        "link.png",
        "folder/../../secret.png",
        "outside/secret.png",
        "circle",
        "pipe",
        "no.png",
        "link.png/x",
        ".",
        "",
        "a\0b",
        "\ud800",
        "x" * 300,
    ],
)
def test_nothing_outside_of_the_folder_is_read(tmp_path, path):
    folder = tmp_path / "images"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(picture(40, 20))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "outside").symlink_to(tmp_path)
    (folder / "circle").symlink_to("circle")
    os.mkfifo(folder / "pipe")  # opening it would wait for a writer
    with pytest.raises(PermanentFailure, match=r"payload\.path: expected the path of a file below IMAGE_FOLDER"):
        ResizeImage(str(folder))(job({"path": path, "width": 10}))


def noise(side: int) -> bytes:
    """A picture that cannot be made smaller."""
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(1).randbytes(side * side * 3)).save(out, "PNG")
    return out.getvalue()


def test_a_result_that_no_artifact_can_hold_fails_for_good():
    with pytest.raises(PermanentFailure, match=r"would have \d+ bytes, at most 10485760 are kept"):
        ResizeImage(None)(job({"image": uri(noise(1900)), "width": 1900}))


def test_without_postgres_a_large_picture_is_refused_and_says_why():
    with pytest.raises(ArtifactRefused, match="artifacts are stored only with DATABASE_URL"):
        ResizeImage(None)(job({"image": uri(noise(400)), "width": 400}, keeps_artifacts=False))


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


@given(SIDES, SIDES, SIDES, st.booleans())
def test_with_one_side_given_the_other_follows(old_width, old_height, width, keep_proportion):
    size = new_size((old_width, old_height), width, None, keep_proportion=keep_proportion)
    assert size[0] == width or size[1] == SIDE_MAX
    assert size[1] == 1 or abs(size[1] - old_height * size[0] / old_width) <= 0.5 + 0.5 * old_height / old_width


@given(SIDES, SIDES, SIDES, SIDES)
def test_without_the_proportion_the_box_is_the_size(old_width, old_height, width, height):
    assert new_size((old_width, old_height), width, height, keep_proportion=False) == (width, height)


FILES = [
    picture(30, 20, mode=mode, kind=kind) for mode in ("RGB", "L") for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF")
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of what it skips
@settings(deadline=None, max_examples=300)
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_broken_file_is_read_or_refused_for_good(file, changes):
    content = bytearray(file)
    for place, value in changes:
        content[place % len(content)] = value
    with suppress(PermanentFailure):
        loaded(opened(bytes(content), "image"), "image")
