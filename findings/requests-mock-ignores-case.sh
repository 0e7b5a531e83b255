#!/usr/bin/env bash
# requests-mock 1.12.1: a request with a wrong id passes the test, if only its capitals are wrong.
#
# Paths and queries distinguish capital and small letters (RFC 3986, 6.2.2.1), and so do the ids,
# codes and cursors in them: TikTok's open_id, YouTube's video ids, an OAuth state. requests-mock
# compares a URL without regard to case, in its path and its query, and records each request in
# small letters: last_request.qs and .path are "xyz" whether "XyZ" or "xyz" was sent, so that a test
# cannot see the difference even if it looks; one that compares with the id itself fails, and is
# usually mended by .lower(). Code that puts an id through lower(), as for e-mail addresses, passes
# all tests and gets 404 from the API. case_sensitive=True turns it off; it is an old behaviour that
# was kept. responses 0.26.3 compares as it should. This affects tests of code that calls an API by
# requests. Our stand-in for TikTok compares byte for byte, and is also a server, which a client of
# requests can call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet requests-mock==1.12.1 responses==0.26.3 requests==2.34.2
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import requests
import requests_mock
import responses

for name in ("requests-mock", "responses", "requests"):
    print(name, version(name))
right, wrong = "https://api.example/Video/AbC?id=XyZ", "https://api.example/video/abc?id=xyz"


def answer(url):
    try:
        return requests.get(url).text
    except (requests.ConnectionError, requests_mock.NoMockAddress):
        return "no such address"


seen = {}
with requests_mock.Mocker() as mock:
    mock.get(right, text="found")
    seen["requests-mock"] = answer(wrong)
    answer(right)
    recorded = mock.last_request.path, mock.last_request.qs
with requests_mock.Mocker(case_sensitive=True) as mock:
    mock.get(right, text="found")
    seen["requests-mock, case_sensitive"] = answer(wrong)
with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
    mock.get(right, body="found")
    seen["responses"] = answer(wrong)
for name, text in seen.items():
    print(f"{name}: the wrong id is answered by: {text}")
print(f"requests-mock records the right one as {recorded}")
if [*seen.values()] != ["found", "no such address", "no such address"] or recorded != (
    "/video/abc",
    {"id": ["xyz"]},
):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   requests-mock 1.12.1
#   responses 0.26.3
#   requests 2.34.2
#   requests-mock: the wrong id is answered by: found
#   requests-mock, case_sensitive: the wrong id is answered by: no such address
#   responses: the wrong id is answered by: no such address
#   requests-mock records the right one as ('/video/abc', {'id': ['xyz']})
