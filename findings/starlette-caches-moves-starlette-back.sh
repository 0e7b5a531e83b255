#!/usr/bin/env bash
# starlette-caches 0.4.1: installing it moves Starlette from 1.10.0 back to 0.x.
#
# The package asks for starlette==0.* although it works with 1.x. pip therefore replaces the
# installed Starlette without a warning, and the app runs with a version that it was not tested
# with and that lacks a year of fixes. This affects anyone who adds the cache middleware to a
# running project. Its test here is skipped where it is not installed, and it is no dependency of
# ours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip"
"$pip" install --quiet starlette==1.10.0
before=$("$pip" show starlette | sed -n 's/^Version: //p')
"$pip" install --quiet starlette-caches==0.4.1
after=$("$pip" show starlette | sed -n 's/^Version: //p')
echo "before $before, after $after"
[ "${before%%.*}" = 1 ] && [ "${after%%.*}" = 0 ]
# Seen:
#   before 1.10.0, after 0.52.1
