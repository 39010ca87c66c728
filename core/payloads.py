"""Payloads as handlers want them: plain, or of the type that the handler's annotation names. Pure."""

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from workqueue.core.errors import InvalidTask
from workqueue.core.job import Job
from workqueue.core.wire import decode_payload

FAULTS_MAX = 3  #: of one payload that are named

Decode = Callable[[bytes], Any]


class PayloadType(Struct, frozen=True):
    """What a handler gets as `job.payload`."""

    type: Any  #: None: a dict, whatever is in it
    decode: Decode  #: raises InvalidTask for what does not fit, naming the field


PLAIN = PayloadType(None, decode_payload)


def payload_type(kind: Any) -> PayloadType:
    """How payloads of this type are decoded: a msgspec.Struct, a dataclass, an attrs class, a TypedDict, a dict, or a
    pydantic model (whatever has `model_validate_json`). Raises TypeError for what cannot be one."""
    if kind is None or kind is Any or kind is dict:
        return PLAIN
    if callable(validate := getattr(kind, "model_validate_json", None)):
        return PayloadType(kind, _by_model(validate))
    decoder = msgspec.json.Decoder(kind)
    schema = msgspec.json.schema(kind)
    if not _is_object(schema, schema.get("$defs", {})):
        raise TypeError(f"a payload is a JSON object, and {_shown(kind)} is none")
    return PayloadType(kind, _by_msgspec(decoder))


def annotated_payload(function: Callable[..., object]) -> Any:
    """The `X` of a handler's `job: Job[X]`; None where it says nothing. Raises NameError for a name that is unknown."""
    called = inspect.unwrap(function)
    if not inspect.isroutine(called):
        called = getattr(called, "__call__", called)  # noqa: B004 - an object that can be called
    try:
        parameters = [name for name in inspect.signature(called).parameters if name != "self"]
    except (TypeError, ValueError):
        return None  # of something written in C
    written = getattr(called, "__annotations__", {}).get(parameters[0]) if parameters else None
    if written is None or (isinstance(written, str) and "Job[" not in written):
        return None
    hint = get_type_hints(called)[parameters[0]]
    return get_args(hint)[0] if get_origin(hint) is Job else None


def _by_msgspec(decoder: "msgspec.json.Decoder[Any]") -> Decode:
    def decode(payload: bytes) -> Any:
        try:
            return decoder.decode(payload)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$")
            raise InvalidTask(f"payload{path.rstrip('`')}: {text}") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidTask(f"payload: {error}") from None

    return decode


def _by_model(validate: Callable[[bytes], Any]) -> Decode:
    def decode(payload: bytes) -> Any:
        try:
            return validate(payload)
        except ValueError as error:  # pydantic's ValidationError is one
            faults = error.errors(include_url=False) if hasattr(error, "errors") else []
            told = [
                f"payload{''.join(f'.{part}' for part in fault['loc'])}: {fault['msg']}"
                for fault in faults[:FAULTS_MAX]
            ]
            raise InvalidTask("; ".join(told) or f"payload: {error}") from None

    return decode


def _is_object(schema: dict[str, Any], named: dict[str, Any]) -> bool:
    if "$ref" in schema:
        schema = named[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return all(_is_object(each, named) for each in schema["anyOf"])
    return schema.get("type") == "object"


def _shown(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))
