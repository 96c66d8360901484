#!/bin/sh
# Everything that needs no call: format, lint, types, import contracts.
set -eu
echo "check: format"; .venv/bin/ruff format --check --quiet .
echo "check: lint"; .venv/bin/ruff check --quiet .
echo "check: types"; .venv/bin/mypy
echo "check: import contracts"; .venv/bin/lint-imports --no-cache
