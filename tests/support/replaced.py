"""The queue or the rows with some of their methods replaced, for what happens between two trips of a step."""

from typing import Any


class Replaced:
    """Passes everything on to `inner` but the methods that are given."""

    def __init__(self, inner: object, methods: dict[str, Any]) -> None:
        self._inner = inner
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def replaced(inner: object, **methods: Any) -> Any:
    """`inner`, with these methods instead of its own."""
    for name in methods:
        getattr(inner, name)  # or a rename would leave a test that replaces nothing
    return Replaced(inner, methods)


def held_up(inner: object, name: str, meanwhile: Any) -> Any:
    """`inner` whose method `name` has its answer, and hands it over only after `meanwhile` has run."""

    async def answer_late(*arguments: Any, **options: Any) -> Any:
        answer = await getattr(inner, name)(*arguments, **options)
        await meanwhile()
        return answer

    return replaced(inner, **{name: answer_late})
