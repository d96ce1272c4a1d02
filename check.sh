#!/bin/sh
# Everything that must pass: lint, format, types, import layers, tests. Installs into $VENV (default .venv) first.
set -eu
cd "$(dirname "$0")"
VENV=${VENV:-.venv}
[ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
"$VENV/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
"$VENV/bin/ruff" check -q .
"$VENV/bin/ruff" format -q --check .
"$VENV/bin/mypy" --no-error-summary
"$VENV/bin/lint-imports" --no-cache >"$VENV/lint-imports.log" || { cat "$VENV/lint-imports.log"; exit 1; }
exec "$VENV/bin/python" -m pytest -n auto --dist loadfile "$@"
