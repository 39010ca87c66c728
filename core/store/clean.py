"""Texts as Postgres can keep them."""

from typing import overload


@overload
def clean(text: str, length_max: int) -> str: ...
@overload
def clean(text: None, length_max: int) -> None: ...
@overload
def clean(text: str | None, length_max: int) -> str | None: ...
def clean(text: str | None, length_max: int) -> str | None:
    """`text` without NUL and lone surrogates, and bounded. The one place that does this."""
    if text is None:
        return None
    if len(text) > length_max:
        text = text[: length_max - 1] + "…"
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
