"""Payloads that ask for more than a worker can give: each ends in a sentence, soon, and in bounded memory."""

import base64
import io
import os
import random
import struct
import sys
import zlib
from collections.abc import AsyncIterator, Mapping
from functools import cache
from pathlib import Path
from socket import AF_UNIX, socket

import pytest
import trio
from PIL import Image

from tests.worker.handlers.support import PROCESS_MIB, children_of, job, peak_mib
from workqueue.core.errors import PermanentFailure
from workqueue.services.worker.handlers import children as module
from workqueue.services.worker.handlers.children import MEMORY_BYTES, ChildFailed, Children, open_children
from workqueue.services.worker.handlers.generate_pdf import LINE_LENGTH_MAX

SECONDS = 30  #: on a machine that does much else besides; each took less than one


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    async with open_children(2) as children:
        yield children


async def refused(children: Children, job_type: str, payload: Mapping[str, object]) -> str:
    with trio.fail_after(SECONDS), pytest.raises(PermanentFailure) as caught:
        await children.run(job(payload, type=job_type))
    [pid] = children_of(os.getpid())
    assert peak_mib(pid) < 2 * PROCESS_MIB, "nothing was made"
    return str(caught.value)


# --- documents

ZERO_WIDTH = ["\u200b", "\u200d", "\u0301", "\u0489", "\ufeff", "\u00ad", "\u202e", "\u2066", "\u034f"]
MANY = 20_000
TOO_DENSE = f"a line of it would have more than {LINE_LENGTH_MAX} characters"


@pytest.mark.parametrize("character", ZERO_WIDTH)
async def test_text_without_width_is_refused(children, character):
    for text in (character * MANY, ("word " + character * 400) * 40, "\n" + "a" * 10 + character * 400):
        for payload, field in (
            ({"title": "x", "paragraphs": ["fine", text]}, "payload.paragraphs[1]: "),
            ({"title": "x", "table": [["head"], [text]]}, "payload.table[1]: "),
            ({"title": "x", "table": [["head"] * 50, ["x"] * 49 + [text]]}, "payload.table[1]: "),
        ):
            said = await refused(children, "generate_pdf", payload)
            assert said.startswith(field + TOO_DENSE) or said.startswith("payload.table: does not fit"), said
    assert (await refused(children, "generate_pdf", {"title": character * 900})).startswith("payload.title: a line")


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"title": "x", "paragraphs": ["a"] * 1_000_000}, "payload.paragraphs: expected a list of length <= 10000"),
        ({"title": "x", "paragraphs": ["a\n"] * 10_000}, "the document would have more than 500 pages"),
        ({"title": "x", "paragraphs": ["a" * (1 << 20)]}, "payload.paragraphs: at most 1048576 characters"),
        ({"title": "x" * 1001}, "payload.title: expected a string of length <= 1000"),
        ({"title": "x", "table": [["a"] * 1000]}, "payload.table: at most 50 columns"),
        ({"title": "x", "table": [["a"]] * 20_001}, "payload.table: at most 20000 cells"),
        ({"title": "x", "table": [["h"], ["word " * 60_000]]}, "payload.table: at most 262144 characters"),
        ({"title": "x", "table": [["word " * 500], ["x"]]}, "payload.table[0]: at most 2000 characters, as the head"),
        ({"title": "x", "table": [[1] * 3, [10**4000] * 3]}, "payload.table: does not fit on a page"),
        ({"title": "x", "table": [[]] * 1000}, "payload.table: expected rows of the same length"),
        ({"title": "x", "table": [["a"], [[[]]]]}, "payload.table[1][0]: expected"),
        ({"title": "x", "paragraphs": [["a"]]}, "payload.paragraphs[0]: expected a string, got a list"),
        ({"title": "x", "size": 10**9, "paragraphs": None}, "payload.paragraphs: expected a list, got null"),
    ],
)
async def test_a_document_that_is_too_much_is_refused(children, payload, sentence):
    said = await refused(children, "generate_pdf", payload)
    assert said.startswith(sentence)
    assert "\n" not in said


@pytest.mark.parametrize(
    "text",
    [
        "e\u0301" * 3000,  # decomposed
        "e\u0302\u0323" * 2000,  # as Vietnamese is
        "a\u200b" * 3000,  # a place to break between all letters
        "so\u00adlong\u00ad" * 800,
        "日本語" * 2000,  # what the font does not have has the width of a question mark
        "👩‍👩‍👧‍👦" * 500,
        "שלום עולם " * 500,
        "\u202eright to left\u202c " * 400,
        "\t" * 1000,
        "\r\n" * 1000,
        " " * 5000,
        "'" * 3000,
        "i" * 5000,
    ],
)
async def test_text_that_people_write_is_made(children, text):
    made = job({"title": "x", "paragraphs": [text], "table": [["h"], [text[:1000].strip()]]}, type="generate_pdf")
    with trio.fail_after(SECONDS):
        await children.run(made)
    assert made.artifacts[0].content.startswith(b"%PDF-")


# --- pictures


def uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, colours: int = 2, rows: bytes | None = None) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    body = zlib.compress(b"\0" * 100 if rows is None else rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@cache
def whole_png(width: int, height: int, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height)).save(out, "PNG")
    return out.getvalue()


def webp_canvas(width: int, height: int) -> bytes:
    """One small frame on a large canvas."""
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "WEBP", lossless=True)
    picture = out.getvalue()[12:]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = b"\0" * 12 + (100).to_bytes(3, "little") + b"\0" + picture
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size
    body += b"ANIM" + struct.pack("<I", 6) + b"\0" * 6 + b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(width: int, height: int, *, progressive: bool = False) -> bytes:
    """A JPEG that says another size than it has."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", progressive=progressive)
    content = out.getvalue()
    place = content.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def gif(width: int, height: int, frames: int = 1) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


def tiff(width: int, height: int, *, loops: bool = False) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8 * loops)


ORIENTATION_255 = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\xff\0\0\0\0\0\0"
TOO_MANY = "payload.image: the picture has too many pixels, at most 64000000 are read"
UNREADABLE = "payload.image: cannot be read as PNG"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (png(100_000, 100_000), TOO_MANY),
        (png(2**31 - 1, 2**31 - 1), TOO_MANY),
        (png(64_000_000, 1), "payload.image: the picture has 64000000 pixels on a side, at most 65535 are read"),
        (png(0, 5), UNREADABLE),
        (webp_canvas(16_383, 16_383), TOO_MANY),
        (webp_canvas(7_999, 7_999), "payload.image: "),
        (jpeg(65_535, 65_535), TOO_MANY),
        (jpeg(8_000, 8_000, progressive=True), "payload.image: 8000 x 8000 pixels (JPEG, RGB) to 10 x 10"),
        (gif(65_535, 65_535), TOO_MANY),
        (tiff(65_535, 65_535), TOO_MANY),
        (tiff(2**31, 2**31), "payload.image: "),
        (png(9_000, 7_000, colours=6), "payload.image: 9000 x 7000 pixels (PNG, RGBA) to 10 x 8 (PNG) would take"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9999999' height='9999999'/>", UNREADABLE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run", UNREADABLE),
        (b"%PDF-1.7", UNREADABLE),
        (b"", UNREADABLE),
        (random.Random(1).randbytes(100_000), UNREADABLE),
        (whole_png(500, 500)[:-40], UNREADABLE),
        (png(10, 10, chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 200_000_000))), "payload.image: "),
        (png(10, 10, chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 200_000_000))), "payload.image: "),
    ],
)
async def test_a_picture_that_is_no_picture_or_too_much_is_refused(children, content, sentence):
    said = await refused(children, "resize_image", {"image": uri(content), "width": 10, "height": 10})
    assert said.startswith(sentence)
    assert "\n" not in said


@pytest.mark.parametrize(
    "payload",
    [
        {"width": 8000, "format": "webp"},  # the picture is 8,000 x 8,000
        {"width": 8000, "height": 8000, "format": "png"},
        {"width": 10_000, "height": 1, "keep_proportion": False, "format": "webp"},
    ],
)
async def test_a_picture_whose_resizing_would_take_too_much_is_refused(children, payload):
    content = whole_png(8000, 8000) if payload["width"] == 8000 else whole_png(1000, 60_000, "L")
    said = await refused(children, "resize_image", {"image": uri(content)} | payload)
    assert said.endswith("MiB of memory, at most 512 MiB are given")


@pytest.mark.parametrize(
    ("sides", "sentence"),
    [
        ({"width": 10**9}, "payload.width: expected a whole number <= 10000"),
        ({"width": 10**400}, "payload.width: "),
        ({"width": 0}, "payload.width: expected a whole number >= 1"),
        ({"width": -1}, "payload.width: expected a whole number >= 1"),
        ({"width": float("nan"), "height": 1}, "payload.width: expected a whole number or null, got a number"),
        ({"width": float("inf"), "height": 1}, "payload.width: expected a whole number or null, got a number"),
        ({"width": 1.5}, "payload.width: expected a whole number or null, got a number"),
        ({"height": 10_001}, "payload.height: expected a whole number <= 10000"),
        ({"width": 10_000, "height": 10_000, "keep_proportion": False}, "payload.width: 10000 x 10000 pixels are too"),
    ],
)
async def test_a_size_that_is_none_is_refused(children, sides, sentence):
    said = await refused(children, "resize_image", {"image": uri(whole_png(10, 10))} | sides)
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    "content",
    [
        gif(10, 10, frames=10_000),
        tiff(8, 8, loops=True),
        png(10, 10, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), rows=b"\0" * 400),  # an APNG of many frames
        png(10, 10, *[chunk(b"tEXt", b"a\0" + b"b" * 1000)] * 1000, rows=b"\0" * 400),
        png(10, 10, chunk(b"eXIf", ORIENTATION_255), rows=b"\0" * 400),
    ],
    ids=["gif", "tiff", "apng", "text", "orientation"],
)
async def test_what_stands_beside_a_picture_costs_nothing(children, content):
    made = job({"image": uri(content), "width": 5}, type="resize_image")
    with trio.fail_after(SECONDS):
        await children.run(made)
    [pid] = children_of(os.getpid())
    assert peak_mib(pid) < 2 * PROCESS_MIB


@pytest.mark.parametrize("path", ["zero", "random", "pipe", "socket", "memory", "../x", "/dev/zero", "/proc/self/mem"])
async def test_no_device_and_no_pipe_is_read(tmp_path, path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "random").symlink_to("/dev/random")
    (tmp_path / "memory").symlink_to("/proc/self/mem")
    os.mkfifo(tmp_path / "pipe")
    with socket(AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    async with open_children(1, str(tmp_path)) as children:
        said = await refused(children, "resize_image", {"path": path, "width": 10})
    assert said.startswith("payload.path: expected the path of a file below IMAGE_FOLDER")


@pytest.mark.parametrize(
    ("width", "height", "mode", "options"),
    [
        (8000, 8000, "RGB", {"width": 100}),
        (6500, 6500, "RGBA", {"width": 100, "format": "jpeg"}),
        (5500, 5500, "LA", {"width": 100, "format": "webp"}),
        (6500, 6500, "P", {"width": 100}),
        (100, 100, "RGBA", {"width": 4500, "height": 4500, "format": "webp"}),
        (100, 100, "RGBA", {"width": 6500, "height": 6500, "format": "png"}),
        (1000, 30_000, "L", {"width": 1500, "height": 1, "keep_proportion": False}),
    ],
)
async def test_the_largest_pictures_stay_within_the_memory_that_is_given(children, width, height, mode, options):
    made = job({"image": uri(whole_png(width, height, mode))} | options, type="resize_image")
    await children.run(made)
    [pid] = children_of(os.getpid())
    assert peak_mib(pid) < PROCESS_MIB + (MEMORY_BYTES >> 20)
    assert made.artifacts


async def test_pictures_at_once_take_no_more_than_one_may():
    """Eight processes, and each picture would take most of what there is."""
    picture = {"image": uri(whole_png(8000, 8000)), "width": 100}
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, sum(resident_mib(pid) for pid in children_of(os.getpid()) if has_begun(pid)))
            await trio.sleep(0.01)

    async with open_children(8) as children, trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        async with trio.open_nursery() as running:
            for _ in range(4):
                running.start_soon(children.run, job(picture, type="resize_image"))
        nursery.cancel_scope.cancel()
    assert 300 < most < 4 * PROCESS_MIB + (MEMORY_BYTES >> 20)


def has_begun(pid: int) -> bool:
    """Between its fork and its exec a child counts all memory of this process as its own."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != Path("/proc/self/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def resident_mib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except (FileNotFoundError, ProcessLookupError):
        return 0


async def test_what_was_estimated_wrongly_meets_the_limit_of_the_process(children, monkeypatch):
    less = "from workqueue.services.worker.handlers import child; child.ADDRESS_SPACE_BYTES = 250 << 20; child.run()"
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", less))
    with pytest.raises(ChildFailed, match="it took more than 250 MiB of memory"):
        await children.run(job({"image": uri(whole_png(8000, 8000)), "width": 10}, type="resize_image"))
    assert children_of(os.getpid()) == [], "it is not used again"
    assert await children.run(job({"image": uri(whole_png(10, 10)), "width": 5}, type="resize_image"))
