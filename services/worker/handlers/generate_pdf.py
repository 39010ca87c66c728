"""`generate_pdf`: a document with a title, paragraphs and a table. Runs in a process."""

import base64
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from itertools import accumulate
from typing import Annotated, cast

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from fpdf import FPDF
from fpdf.errors import FPDFException
from fpdf.fonts import FontFace, TTFFont
from msgspec import Meta, Struct

from workqueue.core.errors import ArtifactRefused, PermanentFailure
from workqueue.core.job import ARTIFACT_BYTES_MAX, Job
from workqueue.services.worker.handlers.payload import read, wrong

TEXT_LENGTH_MAX = 1024 * 1024  #: of everything together
PARAGRAPHS_MAX = 10_000
CELLS_MAX = 20_000
COLUMNS_MAX = 50
TABLE_LENGTH_MAX = 256 * 1024  #: of its texts together: each is broken into lines twice, and narrow ones
HEAD_LENGTH_MAX = 2000  #: of the first row: it is made again for each page
PAGES_MAX = 500
LINE_LENGTH_MAX = 300  #: fpdf2 measures a line again with each character; one without width is no reason to break it
MEMORY_BYTES = 96 * 1024 * 1024  #: for the largest documents that pass the limits (90 MiB were seen)
RESULT_PDF_BYTES_MAX = 256 * 1024  #: without Postgres a document up to this stands in the result
REPLACEMENT = "?"
SOFT_HYPHEN = "\u00ad"
FAMILY = "Noto"
FONT = "files/NotoSans[wdth,wght].ttf"  #: Latin, Greek, Cyrillic and more; SIL Open Font License

#: Up to so many columns of a table -> size of its letters in points. Above the first, the page is turned.
LETTERS = {8: 9, 20: 7, COLUMNS_MAX: 5}
TITLE_LETTERS, PARAGRAPH_LETTERS = 20, 11
PORTRAIT_POINTS, LANDSCAPE_POINTS = 539, 785  #: between the margins of an A4 page

HEAD = FontFace(emphasis="", fill_color=(232, 236, 241))

Scalar = str | int | float | bool | None


class Document(Struct):
    """The payload."""

    title: Annotated[str, Meta(min_length=1, max_length=1000)]
    paragraphs: Annotated[list[str], Meta(max_length=PARAGRAPHS_MAX)] = []
    table: list[list[Scalar]] = []  #: the first row is the head
    author: Annotated[str, Meta(max_length=200)] | None = None


def _granted(memory_bytes: int) -> None:
    """For callers without a limit of memory."""


class GeneratePdf:
    """The handler."""

    def __init__(self, reserve: Callable[[int], None] = _granted) -> None:
        """`reserve` waits until so many bytes may be used."""
        self._reserve = reserve

    def __call__(self, job: Job) -> object:
        """Attach `document.pdf`; returns its pages, its size, and how many characters the font does not have."""
        document = read(job.payload, Document)
        _check(document)
        self._reserve(MEMORY_BYTES)
        content, pages, replaced = make(document)
        if len(content) > ARTIFACT_BYTES_MAX:
            raise PermanentFailure(f"the document has {len(content)} bytes, at most {ARTIFACT_BYTES_MAX} are kept")
        result: dict[str, object] = {"pages": pages, "bytes": len(content), "replaced": replaced}
        try:
            job.attach("document.pdf", content, "application/pdf")
        except ArtifactRefused:  # no Postgres: a small one can stand in the result
            if len(content) > RESULT_PDF_BYTES_MAX:
                raise
            result["document"] = f"data:application/pdf;base64,{base64.b64encode(content).decode()}"
        return result


def _check(document: Document) -> None:
    columns = {len(row) for row in document.table}
    if len(columns) > 1 or 0 in columns:
        raise wrong("table", "expected rows of the same length, at least one cell each")
    if columns and max(columns) > COLUMNS_MAX:
        raise wrong("table", f"at most {COLUMNS_MAX} columns")
    if len(document.table) * max(columns, default=0) > CELLS_MAX:
        raise wrong("table", f"at most {CELLS_MAX} cells")
    if sum(len(text) for text in _texts(document)) > TEXT_LENGTH_MAX:
        raise wrong("paragraphs", f"at most {TEXT_LENGTH_MAX} characters, title and table included")
    rows = [sum(len(_cell(value)) for value in row) for row in document.table]
    if sum(rows) > TABLE_LENGTH_MAX:
        raise wrong("table", f"at most {TABLE_LENGTH_MAX} characters")
    if rows and rows[0] > HEAD_LENGTH_MAX:
        raise wrong("table[0]", f"at most {HEAD_LENGTH_MAX} characters, as the head of a table stands on each page")


def _texts(document: Document) -> Iterator[str]:
    yield document.title
    yield document.author or ""
    yield from document.paragraphs
    for row in document.table:
        yield from map(_cell, row)


def _cell(value: Scalar) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def make(document: Document) -> tuple[bytes, int, int]:
    """The PDF, its number of pages, and how many characters were replaced. Raises PermanentFailure beyond PAGES_MAX."""
    with as_file(files("fontpkg_noto_sans").joinpath(FONT)) as font:
        known = _characters(str(font))
        replaced = sum(1 for text in _texts(document) for character in text if _is_missing(character, known))

        def shown(text: str) -> str:
            return "".join(REPLACEMENT if _is_missing(character, known) else character for character in text)

        pdf = _Pdf(format="A4")
        pdf.add_font(FAMILY, "", str(font))  # as it is: a bold instance of a variable font takes seconds to make
        try:
            _check_lines(pdf, document)
            _write(pdf, document, shown)
            return bytes(pdf.output()), pdf.pages_count, replaced
        finally:
            pdf.close_fonts()


def _check_lines(pdf: FPDF, document: Document) -> None:
    """Raises PermanentFailure for a text that would stand in one line, however long it is."""
    [font] = pdf.fonts.values()
    widths: dict[int, float] = {**cast("TTFFont", font).cw, ord(SOFT_HYPHEN): 0}
    replacement = widths[ord(REPLACEMENT)]

    def check(text: str, field: str, points: float) -> None:
        """`points`: the width of a line, for letters of size 1."""
        points = min(points, PORTRAIT_POINTS / PARAGRAPH_LETTERS)  # so that a table takes what a paragraph does
        if len(text) <= LINE_LENGTH_MAX:
            return
        for line in text.split("\n"):
            if len(line) > LINE_LENGTH_MAX:
                ends = list(accumulate((widths.get(ord(each), replacement) * 0.001 for each in line), initial=0.0))
                if any(end - begin < points for begin, end in zip(ends, ends[LINE_LENGTH_MAX:], strict=False)):
                    raise wrong(field, f"a line of it would have more than {LINE_LENGTH_MAX} characters: "
                                       "too many of them, one after the other, have no width")  # fmt: skip

    check(document.title, "title", PORTRAIT_POINTS / TITLE_LETTERS)
    for number, paragraph in enumerate(document.paragraphs):
        check(paragraph, f"paragraphs[{number}]", PORTRAIT_POINTS / PARAGRAPH_LETTERS)
    if document.table:
        columns = len(document.table[0])
        width = PORTRAIT_POINTS if columns <= min(LETTERS) else LANDSCAPE_POINTS
        for number, row in enumerate(document.table):
            for value in row:
                check(_cell(value), f"table[{number}]", width / _letters(columns) / columns)


def _letters(columns: int) -> int:
    """The size of the letters of a table, in points."""
    return next(size for most, size in LETTERS.items() if columns <= most)


def _write(pdf: FPDF, document: Document, shown: Callable[[str], str]) -> None:
    pdf.alias_nb_pages(None)  # type: ignore[arg-type]  # else a text with {nb} in it would show a number
    pdf.set_title(shown(document.title))
    if document.author:
        pdf.set_author(shown(document.author))
    pdf.add_page()
    pdf.set_font(FAMILY, "", TITLE_LETTERS)
    pdf.multi_cell(0, 10, shown(document.title), new_x="LMARGIN", new_y="NEXT")
    pdf.ln(4)
    pdf.set_font(FAMILY, "", PARAGRAPH_LETTERS)
    for paragraph in document.paragraphs:
        pdf.multi_cell(0, 6, shown(paragraph), new_x="LMARGIN", new_y="NEXT")
        pdf.ln(3)
    if document.table:
        _add_table(pdf, [[shown(_cell(value)) for value in row] for row in document.table])


def _add_table(pdf: FPDF, rows: list[list[str]]) -> None:
    columns = len(rows[0])
    if columns > min(LETTERS):
        pdf.add_page(orientation="landscape")
    pdf.set_font(FAMILY, "", _letters(columns))
    try:
        with pdf.table(headings_style=HEAD) as table:
            for row in rows:
                table.row(row)
    except (ValueError, FPDFException) as error:  # a row higher than a page, a character wider than its column
        raise wrong("table", f"does not fit on a page: {error}") from None


class _Pdf(FPDF):
    """Refuses to grow without bound, and leaves no file open where it failed."""

    def add_page(self, *arguments: object, **options: object) -> None:
        if self.pages_count >= PAGES_MAX:
            raise PermanentFailure(f"the document would have more than {PAGES_MAX} pages")
        super().add_page(*arguments, **options)  # type: ignore[arg-type]

    def close_fonts(self) -> None:
        for font in self.fonts.values():
            if isinstance(font, TTFFont):
                font.close()


def _characters(font: str) -> frozenset[int]:
    with TTFont(font, lazy=True) as opened:
        return frozenset(opened.getBestCmap())


def _is_missing(character: str, known: frozenset[int]) -> bool:
    return ord(character) not in known and character not in "\n\r\t"
