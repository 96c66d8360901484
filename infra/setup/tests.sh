#!/bin/sh
# All tests of a landing, a few files at a time; whole nodes come early, so that what mostly waits for telephones
# has company. What fails beside others runs once more alone, in plain sight: these tests drive real processes,
# sockets and clocks, and two cores are easily busy. What fails alone has failed.
set -u
export STAGE_PROMPTS="$PWD/var/prompts"  # a node of a test takes the prompts that one before has rendered
echo "test: everything but the proof, about fifteen minutes on two idle cores"
.venv/bin/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder --hypothesis-profile landing -m "not proof" && exit 0
echo "test: the ones that failed, once more, one at a time"
.venv/bin/python -m pytest -q -m "not proof" --last-failed --last-failed-no-failures none
