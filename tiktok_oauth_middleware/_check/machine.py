"""Findings about the machine: its clock, and its certificates."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, Request, build_opener

from tiktok_oauth_middleware._core.clocks import SERVER_CLOCK_SKEW
from tiktok_oauth_middleware._core.findings import Finding, good, note, wrong

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

#: A clock that shows a time before this package existed is wrong: 2026-11-01 UTC.
_RELEASED = 1_793_491_200
_YEARS = 20 * 365 * 86400
#: A clock counts as correct up to this difference, in seconds.
_SLIGHT_SKEW = 10
_ANSWER_SECONDS = 10


def findings(
    settings: TikTokSettings, clock: Callable[[], float], *, online: bool
) -> Iterator[Finding]:
    """Return the findings about the machine."""
    yield _clock(clock())
    token = settings.endpoints.token
    context = None
    if token.startswith("https:"):
        context, finding = _certificates()
        yield finding
    if online:
        yield from _clock_difference(token, clock, context)


def _clock(now: float) -> Finding:
    if _RELEASED <= now <= _RELEASED + _YEARS:
        return good("clock", "", "the clock is plausible")
    try:
        shown = time.strftime("%Y-%m-%d", time.gmtime(now))
    except (ValueError, OverflowError):
        shown = f"{now:g} seconds since 1970"
    return wrong(
        "clock_wrong",
        "",
        f"the clock shows {shown}, which is wrong: logins, tokens and webhooks depend"
        " on it",
        "set it, and keep it synchronised (chrony, systemd-timesyncd)",
    )


def _certificates() -> tuple[ssl.SSLContext | None, Finding]:
    """Return the TLS settings of a login, and the finding about their certificates."""
    fix = "install ca-certificates, or let SSL_CERT_FILE name a file that has some"
    try:
        # The HTTP library decides whose certificates these are: its own, the system's,
        # or those that SSL_CERT_FILE or SSL_CERT_DIR names.
        from tiktok_oauth_middleware._oauth.http_library import httpx

        context: ssl.SSLContext = httpx.create_ssl_context()
    except ImportError:  # the finding about dependencies names it
        message = "the HTTP library is missing, so its certificates are unknown"
        return None, note("certificates", "", message, "install the dependencies")
    except OSError as error:
        message = f"the certificates to check TikTok's with cannot be read: {error}"
        return None, wrong("no_certificates", "", message, fix)
    if _has_certificates(context):
        message = "there are certificates to check TikTok's with"
        return context, good("certificates", "", message)
    message = "there are no certificates to check TikTok's with"
    return context, wrong("no_certificates", "", message, fix)


#: The name that OpenSSL looks for in a directory of certificates.
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def _has_certificates(context: ssl.SSLContext) -> bool:
    if type(context) is not ssl.SSLContext:
        return True  # truststore's: the system itself checks, on Windows and macOS
    if context.cert_store_stats()["x509"]:
        return True
    # Directories are read at the first connection only; OpenSSL takes a list of them.
    usual = ssl.get_default_verify_paths().openssl_capath
    directories = (os.environ.get("SSL_CERT_DIR") or usual).split(os.pathsep)
    files = chain.from_iterable(Path(each).glob("*") for each in directories if each)
    return any(_HASHED.fullmatch(file.name) for file in files)


def _clock_difference(
    url: str, clock: Callable[[], float], context: ssl.SSLContext | None
) -> Iterator[Finding]:
    """Ask the token endpoint for its headers, and compare the clocks."""
    # HEAD without credentials: every answer has a Date (RFC 9110 section 6.6.1).
    request = Request(url, method="HEAD")  # noqa: S310 - https or loopback
    opener = build_opener(HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=_ANSWER_SECONDS) as response:
            date = response.headers["Date"]
    except HTTPError as error:
        date = error.headers["Date"]
        error.close()
    # Also an answer that is not HTTP, and a name that no name server can know.
    except (OSError, HTTPException, UnicodeError) as error:
        reason = getattr(error, "reason", error)
        yield wrong(
            "tiktok_unreachable",
            "endpoints",
            f"TikTok cannot be reached: {type(reason).__name__}",
            "check name resolution, firewall, proxy (HTTPS_PROXY) and certificates",
        )
        return
    yield good("tiktok", "endpoints", "TikTok's token endpoint answers")
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        yield note(
            "clock_unknown", "", "TikTok's answer has no date", "try again later"
        )
        return
    yield _compared(clock() - theirs)


def _compared(ahead: float) -> Finding:
    words = f"the clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"
    if abs(ahead) <= _SLIGHT_SKEW:
        return good("clock_compared", "", "the clock agrees with TikTok's")
    level = note if abs(ahead) <= SERVER_CLOCK_SKEW else wrong
    return level(
        "clock_off",
        "",
        f"{words} TikTok's",
        "synchronise it: workers may differ by 60 s, and from TikTok by 300 s",
    )
