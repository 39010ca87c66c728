"""The tables as they are after all migrations, as a file under review: a migration shows in it what it changes."""

import difflib
import os
from pathlib import Path

SCHEMA = Path(__file__).with_name("schema.sql")
TABLES = """
SELECT c.oid, c.relname, coalesce(array_to_string(c.reloptions, ', '), '') AS options
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY c.relname
"""
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
       pg_get_expr(d.adbin, d.adrelid) AS "default", a.attstorage <> t.typstorage AS stored, a.attstorage
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
CONSTRAINTS = """
SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint
WHERE conrelid = $1::oid AND contype <> 'n' ORDER BY contype DESC, conname
"""
INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) AS definition FROM pg_index i
WHERE i.indrelid = $1::oid AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
ORDER BY 1
"""

STORAGE = {b"e": "EXTERNAL", b"m": "MAIN", b"p": "PLAIN", b"x": "EXTENDED"}


async def dump(psql, schema: str) -> str:
    """What is in `schema`, as SQL that a person reads."""
    lines = [
        "-- Made by the test beside it from the migrations: UPDATE_SCHEMA=1 pytest tests/core/store/test_schema.py"
    ]
    for table in await psql(TABLES, schema):
        parts = []
        for column in await psql(COLUMNS, table["oid"]):
            words = [column["attname"], column["type"], "NOT NULL" if column["required"] else ""]
            words += [f"DEFAULT {column['default']}" if column["default"] else ""]
            words += [f"STORAGE {STORAGE[column['attstorage']]}" if column["stored"] else ""]
            parts.append("    " + " ".join(filter(None, words)))
        for constraint in await psql(CONSTRAINTS, table["oid"]):
            parts.append(f"    CONSTRAINT {constraint['conname']} {constraint['definition']}")
        lines += ["", f"CREATE TABLE {table['relname']} (", ",\n".join(parts)]
        lines += [f") WITH ({table['options']});" if table["options"] else ");"]
        lines += [f"{index['definition']};" for index in await psql(INDEXES, table["oid"])]
    return "\n".join(lines).replace(f"{schema}.", "") + "\n"


async def test_the_tables_are_those_of_the_file(psql, database_schema):
    found = await dump(psql, database_schema)
    if os.environ.get("UPDATE_SCHEMA"):
        SCHEMA.write_text(found)
    difference = difflib.unified_diff(SCHEMA.read_text().splitlines(), found.splitlines(), "schema.sql", "Postgres")
    assert not (text := "\n".join(difference)), f"{text}\nIf that is meant: UPDATE_SCHEMA=1 make this test write it"
