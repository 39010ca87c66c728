"""The document says what the API does: schemathesis sends what it allows and what it forbids, and holds the answers
against it. (That it names every route: test_api.py.)"""

import re
import subprocess
import sys
from pathlib import Path

import trio

from tests.producer.serving import serving

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("st")


async def test_the_api_does_what_its_document_says(store, environ, tmp_path):
    async with serving(environ) as client:
        command = [str(SCHEMATHESIS), "--config-file", str(CONFIG), "run", f"{client.base_url}/openapi.json",
                   "--max-examples", "20", "--generation-deterministic", "--workers", "1", "--no-color"]  # fmt: skip
        with trio.fail_after(240):
            done = await trio.run_process(
                command, capture_stdout=True, stderr=subprocess.STDOUT, check=False, cwd=tmp_path
            )
        assert done.returncode == 0, done.stdout.decode()[-6000:]
        sent = re.search(r"(\d+) generated, (\d+) passed", done.stdout.decode())
        assert sent, done.stdout.decode()[-2000:]
        assert int(sent[1]) == int(sent[2]) > 100
