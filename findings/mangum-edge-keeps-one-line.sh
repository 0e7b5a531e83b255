#!/usr/bin/env bash
# Mangum 0.22.0 at Lambda@Edge: one of several Set-Cookie lines is sent; images arrive as text.
#
# CloudFront's events and answers have a list of lines for each header. Mangum makes its answer
# from a dictionary by name, so that of two Set-Cookie lines the last remains, and it reads the
# first of several Cookie lines. A body that is not text is encoded, which it says in the field
# isBase64Encoded, as API Gateway has it; CloudFront's field is bodyEncoding, and without that the
# browser is sent the base64 text. Its other handlers do all three right. This affects anyone who
# logs people in at the edge, where a session's cookie and another go out together, or serves a
# picture there. Our page on serverless platforms has a handler that answers as CloudFront
# documents it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mangum==0.22.0
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from mangum import Mangum

print("mangum", version("mangum"))
seen = {}


async def app(scope, receive, send):
    seen["cookies"] = [v.decode() for k, v in scope["headers"] if k == b"cookie"]
    headers = [
        (b"content-type", b"image/png"),
        (b"set-cookie", b"session=1"),
        (b"set-cookie", b"theme=dark"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"\x89PNG"})


request = {
    "clientIp": "192.0.2.1",
    "headers": {
        "host": [{"key": "Host", "value": "app.example.com"}],
        "cookie": [
            {"key": "Cookie", "value": "a=1"},
            {"key": "Cookie", "value": "b=2"},
        ],
    },
    "method": "GET",
    "querystring": "",
    "uri": "/",
}
config = {"distributionId": "EXAMPLE", "eventType": "origin-request"}
event = {"Records": [{"cf": {"config": config, "request": request}}]}
answer = Mangum(app, lifespan="off")(event, None)
lines = [line["value"] for line in answer["headers"]["set-cookie"]]
print("cookies that came in:", seen["cookies"])
print("cookies that went out:", lines)
print("bodyEncoding:", answer.get("bodyEncoding"))
print("isBase64Encoded:", answer.get("isBase64Encoded"))
is_same = seen["cookies"] == ["a=1"] and lines == ["theme=dark"]
if not is_same or "bodyEncoding" in answer or not answer["isBase64Encoded"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   mangum 0.22.0
#   cookies that came in: ['a=1']
#   cookies that went out: ['theme=dark']
#   bodyEncoding: None
#   isBase64Encoded: True
