"""Origins: scheme, host and port of an address, as browsers compare them."""

from __future__ import annotations

from urllib.parse import urlsplit


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, as a browser writes an Origin header.

    Raises:
        ValueError: the URL has no host, or a port that is none.
    """
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if not host:
        message = "a URL without a host"
        raise ValueError(message)
    if ":" in host:
        host = f"[{host}]"
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")


_DEFAULT_PORTS = {"https:": ":443", "http:": ":80"}


def local_part(url: str, origin: str) -> str:
    """Return the path, query and fragment of an address at exactly this origin.

    Anything else comes back as it is. The origin is compared as text, so nothing that
    a browser would read as part of another address passes for it: its end is the
    address's, or "/", "?" or "#" follows. The scheme's default port may be written out.

    >>> local_part("https://app.example.com/x?y=1", "https://app.example.com")
    '/x?y=1'
    >>> local_part("https://app.example.com@elsewhere.example/", "https://app.example.com")
    'https://app.example.com@elsewhere.example/'
    """
    if not origin:
        return url
    default = _DEFAULT_PORTS.get(origin.partition("//")[0], "")
    for start in (origin + default, origin):
        if url.startswith(start):
            rest = url[len(start) :]
            if rest[:1] == "/":
                return rest
            if rest[:1] in ("", "?", "#"):
                return "/" + rest
    return url
