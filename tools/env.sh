#!/bin/sh
# Make sure .venv is there and complete. Finds a suitable Python, then hands over to environment.py.
# `PYTHON=/path/to/python make book` chooses the interpreter yourself.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# An environment that works already answers the question; the names after it are the usual ones.
for candidate in "${PYTHON:-}" "$root/.venv/bin/python" \
    python3 python3.13 python3.12 python3.11 python; do
    if [ -n "$candidate" ] && suitable "$candidate"; then
        exec "$candidate" "$root/tools/environment.py"
    fi
    if [ -n "$candidate" ] && [ "$candidate" = "${PYTHON:-}" ]; then
        echo "PYTHON=$PYTHON is not a working Python 3.11, 3.12 or 3.13." >&2
        exit 1
    fi
done

# uv may know interpreters that are not on PATH.
if command -v uv >/dev/null 2>&1; then
    found=$(uv python find --no-project '>=3.11,<3.14' 2>/dev/null || true)
    if [ -n "$found" ] && suitable "$found"; then
        exec "$found" "$root/tools/environment.py"
    fi
fi

found=$(python3 --version 2>&1 || echo none)
echo "llama_edu needs Python 3.11, 3.12 or 3.13; the python3 here is: $found." >&2
echo "Install one, or name one: make book PYTHON=/path/to/python3.12" >&2
exit 1
