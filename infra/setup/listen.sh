#!/bin/sh
# An environment of its own for the recogniser that reads prompts back: 29 packages and a model that nothing else
# needs. Every package comes from a lock with hashes.
set -eu
folder=.tools/listen
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
echo "set-up: installing requirements-listen.lock"
VIRTUAL_ENV=$PWD/$folder .venv/bin/uv pip sync --quiet --require-hashes requirements-listen.lock
touch "$folder/.ready"
