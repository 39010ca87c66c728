import io

import pytest
from pypdf import PdfReader

from core.errors import PermanentFailure
from services.worker.handlers.generate_pdf import GeneratePdf
from tests.worker.handlers.support import job


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
    _, _, result = generated({"title": "日本"})
    assert result["replaced"] == 2


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
    ],
)
def test_a_wrong_payload_fails_for_good_and_names_the_field(payload, sentence):
    with pytest.raises(PermanentFailure) as caught:
        GeneratePdf()(job(payload))
    assert str(caught.value).startswith(sentence)


def test_without_postgres_a_small_document_stands_in_the_result():
    result = GeneratePdf()(job({"title": "x"}, keeps_artifacts=False))
    assert isinstance(result, dict)
    assert result["document"].startswith("data:application/pdf;base64,")
