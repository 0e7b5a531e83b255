"""Instructions of a request and of its steps, counted by valgrind's callgrind.

Unlike times, counts hardly vary from run to run, nor with what else the machine does.
All cases run in one process below valgrind. It counts from one call of ``getppid`` to
the next, and writes each count to a file of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if __name__ == "__main__" and sys.argv[1:] == ["without OpenTelemetry"]:
    # Before any module checks whether OpenTelemetry's API is installed.
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]

from tiktok_oauth_middleware import (
    MemoryStore,
    SQLiteStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware._session.record import UserRecord

from . import peers
from .far_tiktok import FarTikTok
from .logins import begun, finished
from .protocol import private, served
from .requests import FORGED, FORGED_SESSION
from .row import Row
from .world import (
    COOKIE,
    FOREIGN,
    RULES,
    bare,
    bare_wsgi,
    environ_of,
    forget,
    reading,
    reading_wsgi,
    receive,
    scope_of,
    seen,
    send,
    settings,
    sign_in,
    start_response,
)

#: Calls of each case before it is counted, and those that are counted. A second passes
#: between two calls that read the store, and after 300 "last seen" would be due.
_WARM, _COUNTED = 50, 200
#: The same for a login over TLS, which takes hundreds of times as many.
_LOGINS_WARM, _LOGINS_COUNTED = 5, 20

BARE, PEER = "the bare app", "SessionMiddleware"
ANONYMOUS = "anonymous, four foreign cookies"
FRESH = "authenticated, fresh in memory"
OPEN = "the same, path rules, a path that is open"
PROTECTED = "the same, path rules, a path that is protected"
AGAIN = "read from SQLite, the cookie verified before"
FIRST = "read from SQLite, a new cookie: verified and opened"
FORGERY, FORGERY_PEER = "a forged cookie", "SessionMiddleware, a forged cookie"
LOGIN = "login and callback over TLS with the profile"
LOGIN_PEER = f"{LOGIN}, Authlib's Starlette client, tuned"

_Case = Callable[[], Awaitable[object]]
#: A file written by callgrind has one of these two lines.
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


async def rows(_rounds: int) -> AsyncIterator[Row]:
    """Count, if valgrind is installed; once more with OpenTelemetry's API."""
    if shutil.which("valgrind") is None:
        return
    plain, traced = _count("without OpenTelemetry"), _count("with its API")
    for name, count in plain.items():
        yield Row(what=name, figure=count, unit="instructions")
    for target, goal, name, peers_name in (
        ("T14", 0.25, FORGERY, FORGERY_PEER),
        ("S2", 0.5, AGAIN, PEER),
        ("S1", 1.3, FIRST, PEER),
    ):
        ours, peer = plain[name] - plain[BARE], plain[peers_name] - plain[BARE]
        yield Row(
            target=target,
            what=f"{name}, above the bare app",
            figure=ours / peer,
            unit="x",
            goal=goal,
            ours=ours,
            peer=peer,
            peer_name=PEER,
        )
    yield Row(
        what=f"{LOGIN}, in this process",
        figure=plain[LOGIN] / plain[LOGIN_PEER],
        unit="x",
        ours=plain[LOGIN],
        peer=plain[LOGIN_PEER],
        peer_name="Authlib's Starlette client, tuned",
    )
    for name, goal in ((AGAIN, 3000), (FRESH, None)):
        yield Row(
            target="S8" if goal else "",
            what=f"{name}: what OpenTelemetry's API adds without a provider",
            figure=traced[name] - plain[name],
            unit="instructions",
            goal=goal,
        )


def _count(how: str) -> dict[str, int]:
    """Run the cases below valgrind; return the instructions of one call of each."""
    with TemporaryDirectory(prefix="speed-") as folder:
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                "--dump-before=getppid",
                f"--callgrind-out-file={folder}/counts",
                sys.executable,
                "-m",
                f"{__package__}.instructions",
                how,
            ],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        names = json.loads(done.stdout.splitlines()[-1])
        # The first file has the instructions before the first case; the first of each
        # later pair has those between two cases.
        return {
            name: round(
                _total(Path(folder) / f"counts.{2 * place + 2}") / _calls(name)[1]
            )
            for place, name in enumerate(names)
        }


def _calls(name: str) -> tuple[int, int]:
    """Return the number of calls of a case before it is counted, and while it is."""
    if name in (LOGIN, LOGIN_PEER):
        return _LOGINS_WARM, _LOGINS_COUNTED
    return _WARM, _COUNTED


def _total(file: Path) -> int:
    found = _TOTAL.search(file.read_text())
    assert found is not None, file
    return int(found[1])


# --- below valgrind ------------------------------------------------------------------


async def _run(how: str) -> list[str]:
    with TemporaryDirectory(prefix="speed-") as folder, FarTikTok() as tiktok:
        cases = {**_peers(), **_Ours(folder).cases(), **_wsgi()}
        if how == "without OpenTelemetry":
            cases |= await _logins(tiktok)
        for name, case in cases.items():
            warm, counted = _calls(name)
            for _ in range(warm):
                await case()
            # A full garbage collection would add a tenth to only some of the cases.
            gc.collect()
            gc.disable()
            os.getppid()
            for _ in range(counted):
                await case()
            os.getppid()
            gc.enable()
    return [*cases]


async def _logins(tiktok: FarTikTok) -> dict[str, _Case]:
    """Return whole logins; the server's part is in another process, not counted."""
    endpoints = tiktok.endpoints(is_far=False)
    ours = TikTokOAuthMiddleware(
        reading, settings(endpoints=endpoints), store=MemoryStore()
    )
    await ours._core.service.warm()
    theirs = peers.AuthlibLogin(
        endpoints.token, endpoints.user_info, verify=ssl.create_default_context()
    ).app
    return {LOGIN: _login_by(ours), LOGIN_PEER: _login_by(theirs)}


def _login_by(app: Any) -> _Case:
    begin, finish = begun(app), finished(app)

    async def login() -> None:
        await finish(await begin())

    return login


def _peers() -> dict[str, _Case]:
    starlette = peers.session_app()
    scope = scope_of(FOREIGN)
    theirs = scope_of(peers.session_cookies(starlette, "x" * 36))
    forged = scope_of(f"{FOREIGN}; session={FORGED_SESSION}")
    return {
        BARE: lambda: bare(scope.copy(), receive, send),
        PEER: lambda: starlette(theirs.copy(), receive, send),
        FORGERY_PEER: lambda: starlette(forged.copy(), receive, send),
    }


def _wsgi() -> dict[str, _Case]:
    """Return requests under WSGI, each counted with a coroutine that makes it."""
    now = time.time()
    store = MemoryStore(clock=lambda: now)
    plain, ruled = (
        TikTokOAuthWSGIMiddleware(
            reading_wsgi, settings(**rules), store=store, clock=lambda: now
        )
        for rules in ({}, RULES)
    )
    cookie = sign_in(plain, store, 1, now)[0]

    def asking(app: Any, path: str = "/app/page") -> _Case:
        environ = environ_of(cookie, path)
        return _stepping(lambda: app(environ.copy(), start_response))

    return {
        f"WSGI: {name}": case
        for name, case in {
            BARE: asking(bare_wsgi),
            FRESH: asking(plain),
            OPEN: asking(ruled),
            PROTECTED: asking(ruled, "/members/page"),
        }.items()
    }


class _Ours:
    """An app with SQLite, one signed-in browser, and a clock that stands still."""

    def __init__(self, folder: str) -> None:
        self._now = time.time()
        self._store = SQLiteStore(Path(folder) / "tokens", clock=self._clock)
        self._app = TikTokOAuthMiddleware(
            reading, settings(), store=self._store, clock=self._clock
        )
        self._ruled = TikTokOAuthMiddleware(
            reading, settings(**RULES), store=self._store, clock=self._clock
        )
        cookie = sign_in(self._app, self._store, 1, self._now)[0]
        self._value = cookie.rpartition("=")[2].encode()
        self._cookies = cookie
        self._scope = scope_of(cookie)

    def _clock(self) -> float:
        return self._now

    def cases(self) -> dict[str, _Case]:
        """Return the requests, and the steps of one that opens a record."""
        core: Any = self._app._core
        records, ticket = core.service.records, core.cookies.read(self._value)
        key = records._key(ticket.record_id)
        sealed = self._store.get(key)
        packed = records._box.open(sealed, key)
        anonymous = scope_of(FOREIGN)
        forged = scope_of(f"{FOREIGN}; {COOKIE}={FORGED}")
        members = scope_of(self._cookies, "/members/page")
        return {
            ANONYMOUS: lambda: self._app(anonymous.copy(), receive, send),
            FORGERY: lambda: self._app(forged.copy(), receive, send),
            FRESH: self._fresh,
            OPEN: lambda: self._asked(self._ruled, self._scope),
            PROTECTED: lambda: self._asked(self._ruled, members),
            "behind uvicorn, the bare app": served(bare, self._cookies),
            "behind uvicorn, with two headers more": served(private, self._cookies),
            "behind uvicorn, ours": served(self._app, self._cookies),
            AGAIN: self._again,
            FIRST: self._first,
            "(step) call nothing": _stepping(lambda: None),
            "(step) verify the cookie": _stepping(
                lambda: core.cookies.read(self._value)
            ),
            "(step) read SQLite": _stepping(lambda: self._store.get(key)),
            "(step) decrypt the record": _stepping(
                lambda: records._box.open(sealed, key)
            ),
            "(step) parse the record": _stepping(lambda: UserRecord.unpack(packed)),
        }

    async def _fresh(self) -> None:
        # Not by `_asked`: one more coroutine would count for 1,000 instructions.
        seen[0] = None
        await self._app(self._scope.copy(), receive, send)
        assert seen[0]

    async def _asked(self, app: Any, scope: dict[str, Any]) -> None:
        seen[0] = None
        await app(scope.copy(), receive, send)
        assert seen[0]

    async def _again(self) -> None:
        self._now += 1.01
        await self._fresh()

    async def _first(self) -> None:
        forget(self._app, self._value)
        await self._fresh()


def _stepping(step: Callable[[], object]) -> _Case:
    async def case() -> None:
        step()

    return case


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(sys.argv[1]))))
