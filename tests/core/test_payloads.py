"""What a handler's annotation makes of a payload, and which field is named where it does not fit."""

import enum
import functools
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pytest

from workqueue import declare
from workqueue.core.errors import InvalidTask
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.payloads import PLAIN, annotated_payload, payload_type


class Line(msgspec.Struct):
    article: str
    count: int = 1


class Order(msgspec.Struct):
    number: int
    lines: list[Line] = []


@dataclass
class Letter:
    to: str
    copies: int = 1


class Colour(enum.Enum):
    RED = "red"


class Picture(TypedDict):
    path: str


class Model:
    """As pydantic's: what it finds wrong is in errors()."""

    class Wrong(ValueError):
        def errors(self, include_url: bool = True) -> list[dict[str, Any]]:
            return [{"loc": ("lines", 0, "count"), "msg": "Input should be a valid integer"}]

    @classmethod
    def model_validate_json(cls, payload: bytes) -> "Model":
        if b"wrong" in payload:
            raise cls.Wrong
        return cls()


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        (Order, b'{"number":7,"lines":[{"article":"a"}],"more":1}', Order(7, [Line("a")])),
        (Letter, b'{"to":"a"}', Letter("a")),
        (Picture, b'{"path":"a"}', {"path": "a"}),
        (dict[str, int], b'{"a":1}', {"a": 1}),
        (Any, b'{"a":1}', {"a": 1}),
        (None, b"{}", {}),
    ],
)
def test_payloads_are_decoded_as_the_type_says(kind, payload, expected):
    assert payload_type(kind).decode(payload) == expected


@pytest.mark.parametrize(
    ("kind", "payload", "text"),
    [
        (Order, b'{"number":"7"}', "payload.number: Expected `int`, got `str`"),
        (Order, b"{}", "payload: Object missing required field `number`"),
        (
            Order,
            b'{"number":1,"lines":[{"article":"a","count":null}]}',
            "payload.lines[0].count: Expected `int`, got `null`",
        ),
        (Order, b'{"number":1e999}', "payload.number: "),
        (Letter, b'{"to":1}', "payload.to: Expected `str`, got `int`"),
        (Picture, b"{}", "payload: Object missing required field `path`"),
        (dict[str, int], b'{"a":"b"}', "payload[...]: Expected `int`, got `str`"),
        (Model, b'{"wrong":1}', "payload.lines.0.count: Input should be a valid integer"),
    ],
)
def test_what_does_not_fit_is_named(kind, payload, text):
    with pytest.raises(InvalidTask) as wrong:
        payload_type(kind).decode(payload)
    assert str(wrong.value).startswith(text)


def test_a_model_checks_by_itself():
    assert isinstance(payload_type(Model).decode(b"{}"), Model)


@pytest.mark.parametrize("kind", [int, list[int], str, object(), int | str, Colour, Order | int])
def test_what_is_no_object_cannot_be_a_payload(kind):
    with pytest.raises(TypeError):
        payload_type(kind)


class Called:
    async def __call__(self, job: Job[Order]) -> None: ...


def test_annotations_are_found():
    async def plain(job: Job) -> None: ...
    async def typed(job: Job[Order]) -> None: ...
    def quoted(job: "Job[Order]") -> None: ...
    def nothing(job): ...

    @functools.wraps(typed)
    def wrapped(*arguments: Any) -> Any: ...

    for function in (typed, quoted, wrapped, Called(), Called().__call__):
        assert annotated_payload(function) is Order
    untyped: tuple[Any, ...] = (plain, nothing, functools.partial(nothing), print)
    for function in untyped:
        assert annotated_payload(function) is None


def test_a_handler_takes_what_its_annotation_or_its_declaration_says():
    registry = Registry()

    @registry.handler("order")
    async def order(job: Job[Order]) -> None: ...

    @registry.handler("plain")
    async def plain(job: Job) -> None: ...

    declared = declare("letter", Letter)

    @registry.handler(declared)
    def letter(job): ...

    handlers = {name: registry.get(name) for name in registry.types}
    assert {name: each.payload.type for name, each in handlers.items() if each is not None} == {
        "order": Order, "plain": None, "letter": Letter,
    }  # fmt: skip
    plain_handler = handlers["plain"]
    assert plain_handler is not None
    assert plain_handler.payload is PLAIN
    with pytest.raises(ValueError, match="takes Order, and the type was declared with Letter"):
        registry.handler(declared)(order)
    with pytest.raises(ValueError, match=r"handler 'x': .*int is none"):

        @registry.handler("x")
        async def number(job: Job[int]) -> None: ...

    with pytest.raises(ValueError, match="name 'Unknown' is not defined"):

        @registry.handler("x")
        async def unknown(job: "Job[Unknown]") -> None: ...  # type: ignore[name-defined]  # noqa: F821
