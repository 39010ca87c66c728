"""Texts as Postgres can keep them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.store.clean import clean


@pytest.mark.parametrize(
    ("text", "kept"),
    [("abc", "abc"), ("abcdef", "abcd…"), ("a\0b", "a\N{REPLACEMENT CHARACTER}b"), ("a\ud800", "a?"), ("", "")],
)
def test_a_text_is_bounded_and_has_nothing_that_postgres_refuses(text: str, kept: str):
    assert clean(text, 5) == kept


def test_no_text_stays_none():
    assert clean(None, 5) is None


@given(st.text(st.characters(), max_size=50))
def test_any_text_can_be_kept(text: str):
    kept = clean(text, 20)
    assert len(kept) <= 20
    assert "\0" not in kept.encode("utf-8").decode()
