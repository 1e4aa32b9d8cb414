#!/bin/sh
# Refresh requirements.txt from pyproject.toml: one set of versions for Python 3.11 to 3.13, with
# no index address in it. `sh tools/lock.sh --upgrade` takes newer versions; plain keeps what fits.
set -eu
cd "$(dirname -- "$0")/.."
if ! command -v uv >/dev/null 2>&1; then
    echo "This needs uv (https://docs.astral.sh/uv/): pip install uv" >&2
    exit 1
fi
UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile pyproject.toml --all-extras --universal \
    --fork-strategy fewest --python-version 3.11 --quiet --output-file requirements.txt "$@"
echo "requirements.txt refreshed. Next: make test"
