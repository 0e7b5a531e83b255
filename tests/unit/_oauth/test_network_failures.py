"""Network failures: their codes, among the errors that the HTTP library wraps."""

from __future__ import annotations

import socket
import ssl

import httpx2
import pytest

from tiktok_oauth_middleware._oauth.network_failures import FAILURES, failure_of
from tiktok_oauth_middleware._observe.causes import cause_of
from tiktok_oauth_middleware.errors import TikTokUnavailable


def chained(error, *causes):
    """Return an error that is wrapped several times, as the HTTP library does."""
    current = error
    for cause in causes:
        current.__cause__ = cause
        current = cause
    return error


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (
            chained(httpx2.ConnectError("x"), OSError(), socket.gaierror(-2, "n")),
            "name_not_found",
        ),
        (chained(httpx2.ConnectError("x"), ConnectionRefusedError()), "refused"),
        (
            chained(
                httpx2.ConnectError("x"),
                ExceptionGroup("all", [OSError(), ConnectionRefusedError()]),
            ),
            "refused",
        ),
        (
            chained(httpx2.ConnectError("x"), ssl.SSLCertVerificationError()),
            "certificate",
        ),
        (chained(httpx2.ConnectError("x"), ssl.SSLError()), "tls"),
        (httpx2.ProxyError("407"), "proxy"),
        (httpx2.ConnectTimeout("x"), "timeout"),
        (httpx2.ReadTimeout("x"), "timeout"),
        (httpx2.ReadError("x"), "network"),
        (OSError(), "network"),
    ],
    ids=str,
)
def test_failure(error, failure):
    """The cause of a network failure is found among the errors that the HTTP library
    wrapped.
    """
    assert failure_of(error) == failure


def test_failure_in_a_circle():
    """An error that is its own context is followed a bounded number of times."""
    one, other = OSError(), OSError()
    one.__context__, other.__context__ = other, one
    assert failure_of(one) == "network"


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_has_a_cause(failure):
    """Each code has a cause in the log, of level WARNING, which says what to check."""
    unavailable = TikTokUnavailable("", "no answer")
    unavailable.failure = failure
    cause = cause_of(unavailable)
    assert (cause.code, cause.level) == (failure, 30)
    assert cause.look_at
