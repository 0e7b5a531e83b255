"""Origins: scheme, host and port of an address, as browsers compare them."""

from __future__ import annotations

from urllib.parse import urlsplit

#: The port of a URL that names none, by scheme.
DEFAULT_PORTS = {"http": 80, "https": 443}
#: Hosts that are always this machine. TikTok's Desktop tab takes the first two.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
LAST_PORT = 65_535


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, as a browser writes an Origin header.

    Raises:
        ValueError: The URL has no host, or its port is invalid.
    """
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if not host:
        message = "a URL without a host"
        raise ValueError(message)
    if ":" in host:
        host = f"[{host}]"
    is_default = port in (None, DEFAULT_PORTS.get(parts.scheme))
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{port}")


def local_part(url: str, origin: str) -> str:
    """Return the path, query and fragment of an address at exactly this origin.

    Any other address is returned unchanged. The origin is compared as text, and must
    be the whole address or be followed by "/", "?" or "#", so that it cannot be the
    beginning of another host. The scheme's default port may be written out.

    >>> local_part("https://app.example.com/x?y=1", "https://app.example.com")
    '/x?y=1'
    >>> local_part("https://app.example.com@elsewhere.example/", "https://app.example.com")
    'https://app.example.com@elsewhere.example/'
    """
    if not origin:
        return url
    port = DEFAULT_PORTS.get(origin.partition("://")[0])
    for start in (f"{origin}:{port}", origin):
        if url.startswith(start):
            rest = url[len(start) :]
            if rest[:1] == "/":
                return rest
            if rest[:1] in ("", "?", "#"):
                return "/" + rest
    return url
