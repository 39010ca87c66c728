"""The page's generated files are those that `make generate` would write."""

import subprocess
from pathlib import Path

import pytest

from scripts.generate_api import FOLDER, files, schema_ts

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", files())
def test_a_generated_file_is_up_to_date(name: str):
    assert (FOLDER / name).read_text("utf-8") == files()[name], "run `make generate`"


def test_no_generated_file_is_left_that_nothing_makes():
    assert {path.name for path in FOLDER.glob("*.gen.ts")} == set(files())


def test_each_form_of_a_schema_has_its_type():
    text = schema_ts(
        {
            "Thing": {
                "description": "A thing.",
                "type": "object",
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "state": {"$ref": "#/components/schemas/State"},
                    "error": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "sizes": {"type": "array", "items": {"type": "integer"}},
                    "either": {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "boolean"}]}},
                    "payload": {"type": "object", "additionalProperties": True},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "result": {"description": "any JSON value"},
                },
                "required": ["id", "state"],
            },
            "State": {"enum": ["a", "b"]},
        }
    )
    assert text.partition("\n")[2] == (
        '\nexport type State = "a" | "b";\n'
        "\n/** A thing. */\n"
        "export type Thing = {\n"
        "  id: string;\n"
        "  state: State;\n"
        "  error?: string | null;\n"
        "  sizes?: number[];\n"
        "  either?: (number | boolean)[];\n"
        "  payload?: Record<string, unknown>;\n"
        "  labels?: Record<string, string>;\n"
        "  /** any JSON value */\n"
        "  result?: unknown;\n"
        "};\n"
    )


def test_an_unknown_form_is_an_error_and_no_wide_type():
    with pytest.raises(ValueError, match="tuple"):
        schema_ts({"Odd": {"type": "tuple"}})


def test_make_generate_runs_it():
    said = subprocess.run(["make", "-n", "generate"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "scripts.generate_api" in said
