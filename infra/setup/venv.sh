#!/bin/sh
# One virtual environment, two depths: `runtime` (what a node and the demo need) and `dev` (everything).
# Every package comes from a lock with hashes; a dev environment is never taken back to runtime.
set -eu
depth=$1
uv_version=0.13.9
if [ ! -x .venv/bin/python ]; then
  echo "set-up: creating .venv"
  python3 -m venv .venv || { echo "set-up: python3-venv is missing; install that one package and run again"; exit 1; }
fi
[ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
lock=requirements.lock
if [ "$depth" = dev ] || [ -e .venv/.dev ]; then lock=requirements-dev.lock; fi
echo "set-up: installing $lock"
VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip sync --quiet --compile-bytecode --require-hashes "$lock"
VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
.venv/bin/python -m vault.media.lane_build | sed "s/^/set-up: /"
touch .venv/.runtime
if [ "$lock" = requirements-dev.lock ]; then touch .venv/.dev; fi
echo "set-up: ready"
