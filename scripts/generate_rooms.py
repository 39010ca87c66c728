"""Write the rooms and the way of a job into CONTRIBUTING.md, from the imports and docstrings of the code.

Run by `make generate`; a test compares the file with what this would write.
"""

import ast
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
FILE = ROOT / "CONTRIBUTING.md"

#: Rooms from the top to the ground; a room is a package or module with all that is in it.
ROOMS = (
    "services.cli", "services.chaos", "services.bench", "services.local", "services.producer", "services.worker",
    "services.http", "core.engine", "core.steps", "core.queue", "core.store", "core.bridge",
)  # fmt: skip

#: The way of a job, module by module.
WAY = (
    "services.producer.enqueue", "core.wire", "core.options", "core.batching", "core.steps.submit",
    "core.store.jobs", "core.queue.client", "core.steps.outbox", "services.worker.claiming", "core.steps.claim",
    "core.steps.claim_rows", "services.worker.running.buffer", "services.worker.running.consumers",
    "services.worker.running.admission", "services.worker.running.slot", "services.worker.running.runtimes",
    "core.outcome", "services.worker.running.outcomes", "core.steps.settle", "core.steps.settle_rows",
    "core.steps.recover",
)  # fmt: skip


def picture() -> str:
    """Direct imports between rooms, as Mermaid draws them. What another arrow leads to as well is left out."""
    graph = grimp.build_graph("workqueue")
    below = {upper: {lower for lower in ROOMS if upper != lower and _imports(graph, upper, lower)} for upper in ROOMS}
    arrows = [
        f"    {_short(upper)} --> {_short(lower)}"
        for upper in ROOMS
        for lower in ROOMS
        if lower in below[upper] and not any(lower in _reached(below, other) for other in below[upper] - {lower})
    ]
    return "\n".join(["```mermaid", "flowchart TD", *arrows, "```"])


def _reached(below: dict[str, set[str]], room: str) -> set[str]:
    reached = set(below[room])
    for lower in below[room]:
        reached |= _reached(below, lower)
    return reached


def way() -> str:
    """A row for each module: its first sentence says what it does."""
    rows = [f"| {number} | `{_file(name)}` | {_sentence(name)} |" for number, name in enumerate(WAY, 1)]
    return "\n".join(["| | where | what |", "| --- | --- | --- |", *rows])


def written(text: str) -> str:
    """CONTRIBUTING.md with both in their places."""
    for name, made in (("rooms", picture()), ("way", way())):
        begin, end = f"<!-- {name}: made by `make generate` -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{made}\n{end}{after}"
    return text


def _imports(graph: grimp.ImportGraph, upper: str, lower: str) -> bool:
    return any(
        graph.direct_import_exists(importer=importer, imported=imported)
        for importer in _modules(graph, upper)
        for imported in _modules(graph, lower)
    )


def _modules(graph: grimp.ImportGraph, room: str) -> set[str]:
    name = f"workqueue.{room}"
    return {name} | graph.find_descendants(name)


def _short(room: str) -> str:
    return room.replace("services.", "").replace("core.", "core_")


def _path(name: str) -> Path:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"


def _file(name: str) -> str:
    return str(_path(name).relative_to(ROOT))


def _sentence(name: str) -> str:
    docstring = ast.get_docstring(ast.parse(_path(name).read_text("utf-8"))) or ""
    return docstring.partition("\n")[0].replace("|", "\\|")


if __name__ == "__main__":
    FILE.write_text(written(FILE.read_text("utf-8")), "utf-8")
