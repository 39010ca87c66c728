"""One way to read payloads: what is missing or wrong fails the job at once, in a sentence that names the field."""

import re
from typing import TypeVar

import msgspec

from workqueue.core.errors import PermanentFailure

T = TypeVar("T")

WORDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def read(payload: dict[str, object], kind: type[T]) -> T:
    """`payload` as a struct of type `kind`; members that it does not have are ignored. Raises PermanentFailure."""
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise PermanentFailure(_sentence(str(error))) from None
    except UnicodeEncodeError:
        raise PermanentFailure("payload: expected text that can be written as UTF-8") from None


def wrong(field: str, expected: str) -> PermanentFailure:
    """The failure of a field that has the right type and a wrong value."""
    return PermanentFailure(f"payload.{field}: {expected}")


def _sentence(text: str) -> str:
    """msgspec's words in ours: `payload.width: expected a whole number, got a string`."""
    text, _, path = text.partition(" - at `$")
    where = f"payload{path.rstrip('`')}".replace("[...]", "[]")
    if match := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"{where}.{match[1]}: missing"
    text = re.sub(r"`([a-z| ]+)`", lambda match: _kinds(match[1]), text)
    return f"{where}: {text[0].lower()}{text[1:]}"


def _kinds(names: str) -> str:
    return " or ".join(WORDS.get(name.strip(), name.strip()) for name in names.split("|"))
