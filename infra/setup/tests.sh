#!/bin/sh
# Tests of one kind, a few files at a time. What fails beside others runs once more alone, in plain sight: these
# tests drive real processes, sockets and clocks, and two cores are easily busy. What fails alone has failed.
# The slow ones mostly wait for telephones, so more of them fit side by side.
set -u
kind=$1
echo "test: $2"
.venv/bin/python -m pytest -q -n "$3" --dist loadfile -m "$kind" && exit 0
echo "test: the ones that failed, once more, one at a time"
.venv/bin/python -m pytest -q -m "$kind" --last-failed --last-failed-no-failures none
