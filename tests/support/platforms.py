"""Platforms that call an app with an event instead of a socket.

Each class turns a request into the event that the platform documents, and reads only
the documented fields of the answer, as the platform does. `Visitor` is the browser.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from .raw_requests import Answer, Pairs

#: Headers that a gateway adds to what the browser sent.
_ADDED = [
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-port", "443"),
    ("x-forwarded-proto", "https"),
]


@dataclass(kw_only=True)
class Platform:
    """One platform in front of one handler."""

    host: str = "app.example.com"
    #: The prefix of the app's paths in the browser.
    prefix: str = ""
    #: The platform's limit of request line and headers together, in bytes.
    limit: ClassVar[int] = 10_240

    @property
    def origin(self) -> str:
        return f"https://{self.host}"

    def event(self, method: str, target: str, headers: Pairs, body: bytes) -> Any:
        raise NotImplementedError

    def answer(self, result: Any) -> Answer:
        raise NotImplementedError

    def ask(
        self, handler: Any, method: str, target: str, headers: Pairs, body: bytes
    ) -> Answer:
        event = self.event(method, target, headers, body)
        # AWS refuses events and answers that are not JSON.
        result = handler(json.loads(json.dumps(event)), None)
        return self.answer(json.loads(json.dumps(result)))


def _encoded(body: bytes) -> dict[str, Any]:
    # Gateways encode each body whose type is not text.
    return {
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }


def _decoded(result: dict[str, Any]) -> bytes:
    body = result.get("body") or ""
    is_encoded = result.get("isBase64Encoded", False)
    return base64.b64decode(body) if is_encoded else body.encode()


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


@dataclass(kw_only=True)
class HttpApi(Platform):
    """AWS: an HTTP API with payload format 2.0, and a function URL."""

    stage: str = "$default"

    def __post_init__(self) -> None:
        if self.stage != "$default":
            self.prefix = f"/{self.stage}"

    def event(self, method: str, target: str, headers: Pairs, body: bytes) -> Any:
        path, _, query = target.partition("?")
        cookies = [value for name, value in headers if name == "cookie"]
        lines = [*headers, ("host", self.host), *_ADDED]
        sent = _gathered(pair for pair in lines if pair[0] != "cookie")
        http = {"method": method, "path": path, "protocol": "HTTP/1.1"}
        return {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": query,
            "cookies": [c for line in cookies for c in line.split("; ")],
            "headers": {name: ",".join(values) for name, values in sent.items()},
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "abc123",
                "domainName": self.host,
                "http": {**http, "sourceIp": "192.0.2.1", "userAgent": "browser"},
                "requestId": "id",
                "routeKey": "$default",
                "stage": self.stage,
            },
            **_encoded(body),
        }

    def answer(self, result: Any) -> Answer:
        assert "multiValueHeaders" not in result, "format 2.0 has no such field"
        # Names are lower-cased, so of two spellings of a name the last one wins.
        headers = {k.lower(): str(v) for k, v in result.get("headers", {}).items()}
        cookies = [("set-cookie", line) for line in result.get("cookies", ())]
        pairs = [*headers.items(), *cookies]
        return Answer(result["statusCode"], pairs, _decoded(result))


@dataclass(kw_only=True)
class RestApi(Platform):
    """AWS: a REST API, or an HTTP API with payload format 1.0.

    The stage is in the address and in the context, but not in `path`; the base path of
    a custom domain is in all three.
    """

    stage: str = "prod"
    #: The base path of a custom domain.
    base_path: str = ""

    def __post_init__(self) -> None:
        stage = "" if self.stage == "$default" else f"/{self.stage}"
        self.prefix = self.base_path or stage

    def event(self, method: str, target: str, headers: Pairs, body: bytes) -> Any:
        full_path, _, query = target.partition("?")
        path = full_path if self.base_path else full_path[len(self.prefix) :]
        pairs = parse_qsl(query, keep_blank_values=True)
        lines = [*headers, ("host", self.host), *_ADDED]
        sent = [(name.title(), value) for name, value in lines]
        return {
            "version": "1.0",
            "resource": "/{proxy+}",
            "path": path,
            "httpMethod": method,
            "headers": dict(sent),
            "multiValueHeaders": _gathered(sent),
            "queryStringParameters": dict(pairs) or None,
            "multiValueQueryStringParameters": _gathered(pairs) or None,
            "pathParameters": {"proxy": path[1:]},
            "stageVariables": None,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "abc123",
                "domainName": self.host,
                "httpMethod": method,
                "identity": {"sourceIp": "192.0.2.1", "userAgent": "browser"},
                "path": full_path,
                "protocol": "HTTP/1.1",
                "requestId": "id",
                "resourcePath": "/{proxy+}",
                "stage": self.stage,
            },
            **_encoded(body),
        }

    def answer(self, result: Any) -> Answer:
        many = result.get("multiValueHeaders") or {}
        pairs = [(name, value) for name, values in many.items() for value in values]
        given = {name.lower() for name in many}
        single = (result.get("headers") or {}).items()
        pairs += [(k, v) for k, v in single if k.lower() not in given]
        return Answer(result["statusCode"], pairs, _decoded(result))


@dataclass(kw_only=True)
class LoadBalancer(Platform):
    """AWS: an Application Load Balancer; multi-value headers are an attribute."""

    has_many: bool = True

    def event(self, method: str, target: str, headers: Pairs, body: bytes) -> Any:
        path, _, query = target.partition("?")
        # It does not decode the query.
        split = [item.partition("=") for item in query.split("&") if item]
        pairs = [(name, value) for name, _, value in split]
        sent = [*headers, ("host", self.host), *_ADDED]
        many = {
            "multiValueHeaders": _gathered(sent),
            "multiValueQueryStringParameters": _gathered(pairs),
        }
        single = {"headers": dict(sent), "queryStringParameters": dict(pairs)}
        arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/app/1"
        return {
            "requestContext": {"elb": {"targetGroupArn": arn}},
            "httpMethod": method,
            "path": path,
            **(many if self.has_many else single),
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }

    def answer(self, result: Any) -> Answer:
        if self.has_many:
            many = result["multiValueHeaders"]
            pairs = [(name, value) for name, values in many.items() for value in values]
            # Users report that repeated headers arrive in reverse order.
            pairs.reverse()
        else:
            # Names are passed on as they are spelled.
            pairs = [*result["headers"].items()]
        return Answer(result["statusCode"], pairs, _decoded(result))


@dataclass(kw_only=True)
class Edge(Platform):
    """AWS: Lambda@Edge, which answers in place of the origin."""

    def event(self, method: str, target: str, headers: Pairs, body: bytes) -> Any:
        path, _, query = target.partition("?")
        lines = _gathered([*headers, ("host", self.host)])
        request = {
            "clientIp": "192.0.2.1",
            "headers": {
                name: [{"key": name.title(), "value": value} for value in values]
                for name, values in lines.items()
            },
            "method": method,
            "querystring": query,
            "uri": path,
            "body": {
                "action": "read-only",
                "data": base64.b64encode(body).decode(),
                "encoding": "base64",
                "inputTruncated": False,
            },
        }
        config = {"distributionId": "E1", "eventType": "origin-request"}
        return {"Records": [{"cf": {"config": config, "request": request}}]}

    def answer(self, result: Any) -> Answer:
        pairs = [
            (name, line["value"])
            for name, lines in result["headers"].items()
            for line in lines
        ]
        body = result.get("body", "")
        is_encoded = result.get("bodyEncoding", "text") == "base64"
        content = base64.b64decode(body) if is_encoded else body.encode()
        return Answer(int(result["status"]), pairs, content)


@dataclass(kw_only=True)
class Azure(Platform):
    """Azure Functions: the messages between the worker and its host."""

    def ask(
        self, handler: Any, method: str, target: str, headers: Pairs, body: bytes
    ) -> Answer:
        from azure.functions.http import HttpRequestConverter, HttpResponseConverter
        from azure.functions.meta import Datum

        def texts(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
            return {name: Datum(value, "string") for name, value in pairs}

        path, _, query = target.partition("?")
        sent = {
            "method": Datum(method, "string"),
            "url": Datum(f"{self.origin}{target}", "string"),
            "headers": texts([*headers, ("host", self.host)]),
            "query": texts(parse_qsl(query)),
            "params": texts([("route", unquote(path[1:]))]),
            "body": Datum(body, "bytes"),
        }
        request = HttpRequestConverter.decode(Datum(sent, "http"), trigger_metadata={})
        result = HttpResponseConverter.encode(
            handler(request, None), expected_type=None
        ).value
        pairs = [(name, datum.value) for name, datum in result["headers"].items()]
        for cookie in result["cookies"] or ():
            # The host gets each cookie's fields, and writes a header from them.
            pairs += [("set-cookie", m.OutputString()) for m in cookie.values()]
        return Answer(
            int(result["status_code"].value), pairs, bytes(result["body"].value)
        )


@dataclass(kw_only=True)
class Google(Platform):
    """Google: the framework's own server app, without the function's name."""

    def ask(
        self, handler: Any, method: str, target: str, headers: Pairs, body: bytes
    ) -> Answer:
        import httpx2

        path = target[len(self.prefix) :]
        with httpx2.Client(
            transport=httpx2.WSGITransport(handler), base_url=self.origin
        ) as client:
            response = client.request(
                method, path, headers=headers, content=body, follow_redirects=False
            )
        return Answer(
            response.status_code, [*response.headers.multi_items()], response.content
        )


@dataclass
class Visitor:
    """A browser in front of a platform: it keeps cookies and follows no redirects."""

    platform: Platform
    #: Builds the handler, once or for each request.
    make: Callable[[], Any]
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (("accept", "text/html"),),
        body: bytes = b"",
    ) -> Answer:
        target = target.removeprefix(self.platform.origin)
        sent = [*headers]
        if self.cookies:
            line = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            sent.append(("cookie", line))
        size = len(target) + sum(len(name) + len(value) + 4 for name, value in sent)
        assert size < self.platform.limit
        answer = self.platform.ask(self.make(), method, target, sent, body)
        for line in answer.all("set-cookie"):
            self._keep(line)
        return answer

    def _keep(self, line: str) -> None:
        pair, *attributes = line.split(";")
        name, value = pair.split("=", 1)
        lowered = {attribute.strip().lower() for attribute in attributes}
        assert {"httponly", "path=/"} <= lowered, line
        if name.startswith("__Host-"):
            assert "secure" in lowered, line
        if "max-age=0" in lowered:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value

    def get(self, target: str) -> Answer:
        return self.ask("GET", target)

    def post(self, target: str, body: bytes, kind: str) -> Answer:
        """POST like a form of the site."""
        parts = urlsplit(self.platform.origin)
        origin = f"{parts.scheme}://{parts.netloc}"
        headers = [
            ("accept", "text/html"),
            ("content-length", str(len(body))),
            ("content-type", kind),
            ("origin", origin),
        ]
        return self.ask("POST", target, headers, body)
