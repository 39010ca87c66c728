import io

import pytest
from pypdf import PdfReader

from tests.worker.handlers.support import job
from workqueue.core.errors import ArtifactRefused, PermanentFailure
from workqueue.services.worker.handlers import generate_pdf
from workqueue.services.worker.handlers.generate_pdf import GeneratePdf


def generated(payload: dict[str, object]) -> tuple[str, PdfReader, dict[str, object]]:
    done = job(payload)
    result = GeneratePdf()(done)
    [artifact] = done.artifacts
    assert artifact.content_type == "application/pdf"
    reader = PdfReader(io.BytesIO(artifact.content))
    assert isinstance(result, dict)
    assert result["pages"] == len(reader.pages)
    return "\n".join(page.extract_text() for page in reader.pages), reader, result


def test_title_paragraphs_and_table_are_in_the_document():
    text, reader, result = generated(
        {
            "title": "Report of the day",
            "paragraphs": ["First things first.", "Ünïcödé, Ελληνικά, Кириллица."],
            "table": [["name", "n"], ["alpha", 1], ["beta", 2.5], ["gamma", None], ["delta", True]],
        }
    )
    for part in ("Report of the day", "First things first.", "Ελληνικά", "Кириллица", "alpha", "2.5", "true"):
        assert part in text
    assert reader.metadata is not None
    assert reader.metadata.title == "Report of the day"
    assert result["replaced"] == 0


def test_what_the_font_does_not_have_is_counted():
    text, _, result = generated({"title": "日本 ok", "author": "本", "paragraphs": ["bell \a"], "table": [["語"]]})
    assert result["replaced"] == 5
    assert "?? ok" in text


def test_a_text_is_shown_as_it_is_written():
    written = "page {nb}, **bold**, __under__, <b>html</b>, \\n"
    text, _, _ = generated({"title": "x", "paragraphs": [written], "table": [[written]]})
    assert text.count(written) == 2


def test_who_wrote_it_stands_in_the_documents_properties():
    _, reader, _ = generated({"title": "x", "author": "Ünal Çelik"})
    assert reader.metadata is not None
    assert reader.metadata.author == "Ünal Çelik"


@pytest.mark.parametrize("columns", [1, 8, 9, 20, 21, 50])
def test_a_table_of_any_width_stays_on_its_page(columns):
    rows = [[f"{row}W{column}" for column in range(columns)] for row in range(30)]
    text, reader, _ = generated({"title": "x", "table": rows})
    shown = "".join(text.split())  # narrow cells break their text
    assert shown.startswith("x")
    assert sum(shown.count(letter) for letter in "W") >= 30 * columns
    page = reader.pages[-1].mediabox
    assert (page.width > page.height) == (columns > 8)


def test_the_head_of_a_table_stands_on_each_of_its_pages():
    _, reader, _ = generated({"title": "x", "table": [["the head"], *[["row"]] * 200]})
    assert len(reader.pages) > 2
    assert all("the head" in page.extract_text() for page in reader.pages)


def test_long_texts_run_over_pages():
    _, reader, _ = generated({"title": "Long", "paragraphs": ["word " * 400] * 20})
    assert len(reader.pages) > 3


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({}, "payload.title: missing"),
        ({"title": 3}, "payload.title: expected a string, got a whole number"),
        ({"title": "x", "paragraphs": "no list"}, "payload.paragraphs: expected a list, got a string"),
        ({"title": "x", "table": [["a"], ["b", "c"]]}, "payload.table: expected rows of the same length"),
        ({"title": "x", "table": [["a"] * 51]}, "payload.table: at most 50 columns"),
        ({"title": "x", "table": [["a"] * 50] * 401}, "payload.table: at most 20000 cells"),
        ({"title": "x", "paragraphs": ["y" * 1024] * 1024}, "payload.paragraphs: at most 1048576 characters"),
        ({"title": "x", "paragraphs": ["\n" * 25_000]}, "the document would have more than 500 pages"),
        ({"title": "x", "table": [["a"], ["word " * 5000]]}, "payload.table: does not fit on a page"),
        ({"title": "x", "table": [["⸻"] * 50]}, "payload.table: does not fit on a page"),
        ({"title": "x", "table": [[["a"]]]}, "payload.table[0][0]: expected"),
        ({"title": ""}, "payload.title: expected a string of length >= 1"),
    ],
)
def test_a_wrong_payload_fails_for_good_and_names_the_field(payload, sentence):
    with pytest.raises(PermanentFailure) as caught:
        GeneratePdf()(job(payload))
    assert str(caught.value).startswith(sentence)


def test_a_document_that_no_artifact_can_hold_fails_for_good(monkeypatch):
    monkeypatch.setattr(generate_pdf, "ARTIFACT_BYTES_MAX", 1000)
    with pytest.raises(PermanentFailure, match=r"the document has \d+ bytes, at most 1000 are kept"):
        GeneratePdf()(job({"title": "x"}))


def test_without_postgres_a_large_document_is_refused_and_says_why(monkeypatch):
    monkeypatch.setattr(generate_pdf, "RESULT_PDF_BYTES_MAX", 1000)
    with pytest.raises(ArtifactRefused, match="artifacts are stored only with DATABASE_URL"):
        GeneratePdf()(job({"title": "x"}, keeps_artifacts=False))


def test_without_postgres_a_small_document_stands_in_the_result():
    result = GeneratePdf()(job({"title": "x"}, keeps_artifacts=False))
    assert isinstance(result, dict)
    assert result["document"].startswith("data:application/pdf;base64,")
