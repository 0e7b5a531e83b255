#!/usr/bin/env bash
# Dash 4.4.1 with pytest 9.2.0: installing Dash stops a test suite that treats warnings as errors.
#
# Dash brings a pytest plugin that every pytest in the environment loads, whether it tests Dash or
# not. The plugin uses hooks in a form that pytest has deprecated; where a project sets
# filterwarnings = error, as many libraries do, pytest stops before it collects anything, with a
# traceback that names Dash's files and not the setting. This affects anyone who adds Dash to an
# environment for one test. We load pytest with -p no:dash.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dash==4.4.1 pytest==9.2.0
cd "$folder"
printf '[pytest]\nfilterwarnings = error\n' >pytest.ini
printf 'def test_nothing():\n    pass\n' >test_nothing.py
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^(dash|pytest) '
first=0
venv/bin/python -m pytest -q >out 2>&1 || first=$?
grep -m1 -oE 'pytest\.Pytest[A-Za-z0-9]+Warning' out || tail -3 out
second=0
venv/bin/python -m pytest -q -p no:dash >/dev/null 2>&1 || second=$?
echo "with Dash's plugin: exit $first; without it: exit $second"
[ "$first" -ne 0 ] && [ "$second" -eq 0 ]
# Seen:
#   dash               4.4.1
#   pytest             9.2.0
#   pytest.PytestRemovedIn10Warning
#   with Dash's plugin: exit 3; without it: exit 0
