#!/usr/bin/env bash
# Writes locks/*.txt: exact versions with hashes, for every supported Python, without any index's host name. Run by `make lock`.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  uv pip compile --quiet --upgrade --generate-hashes --universal --no-header --no-annotate --python-version 3.11 "${@:2}" pyproject.toml -o "locks/$1.txt"
}
compile runtime --extra build
compile local --extra build --extra local
compile dev --extra build --extra local --extra dev
