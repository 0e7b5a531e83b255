"""Requests of users, TikTok and others at a steady rate, and their answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from hardening.reliability.wire import ask, lost
from hardening.reliability.world import (
    LOGIN,
    LOGOUT,
    ORIGIN,
    WEBHOOK,
    Answer,
    person,
)
from tiktok_oauth_middleware.testing import Person

from .tiktok import FaultyTikTok

#: The number of users: enough that tokens fall due between a user's logins.
USERS = 1000
_WAITING = 400
_LATELY = 12
_SAME_ORIGIN = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
#: A connection that breaks within this time of a kill, in s, counts as its effect.
_OF_A_KILL = 3.0
#: The kinds of requests, with their share in percent.
_MIX = {"call": 70, "login": 8, "logout": 3, "webhook": 4, "hostile": 10, "nobody": 5}
_HOSTILE = (
    "__Host-tiktok=" + "A" * 87,
    "__Host-tiktok=" + "A" * 4000,
    '__Host-tiktok="a\\"; __Host-tiktok=b',
    "__Host-tiktok-login-x=" + "A" * 300,
    ";" * 6000,
    'a="' + "\\" * 3000,
    "\xe2\x80\x83__Host-tiktok=x; " + "a=b; " * 300,
)
_QUERIES = ("?next=//evil.example", "?next=%00", "?state=a&state=b", "?" + "&" * 3000)
_QUERIES += ("?scopes=video.publish", "?code=x&state=y", "?error=%0d%0aX: y")


class Site:
    """One server under load, with its signed-in users and its answers."""

    def __init__(self, name: str, port: int, fake: FaultyTikTok, seed: int) -> None:
        self.name = name
        self.port = port
        self._fake = fake
        self._chance = random.Random(f"{name} {seed}")
        #: The cookies of each user's newest session.
        self._cookies: dict[int, str] = {}
        self._busy: set[int] = set()
        #: Recent actions of each user, and the users whose actions are worth reading.
        self._lately: dict[int, deque[str]] = defaultdict(lambda: deque(maxlen=_LATELY))
        self.puzzles: list[str] = []
        #: The status or the fault of each answer, by kind of request.
        self.answers: Counter[tuple[str, str]] = Counter()
        #: The times of logins and deliveries that left a mark in the store.
        self.logins: list[float] = []
        self.deliveries = 0
        #: The times at which a worker was killed or the store stopped.
        self.killed_at = 0.0
        self.slowest = 0.0

    def person(self, user: int) -> Person:
        """Return the person behind a user of this server only.

        TikTok delivers a withdrawal to one server, but ends the person's tokens for
        both: the other would rightly log them out at the next refresh.
        """
        return replace(person(user), open_id=f"{self.name}-{user:06d}")

    async def load(self, rate: float, until: float) -> None:
        """Send requests at this rate until then, independent of answers."""
        began, asked, running = time.monotonic(), 0, set()
        while time.monotonic() < until:
            due = began + asked / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            asked += 1
            if len(running) >= _WAITING:
                self.answers["load", "not asked: too many wait"] += 1
                continue
            task = asyncio.create_task(self._one())
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running, timeout=30)

    async def _one(self) -> None:
        kind = self._chance.choices([*_MIX], [*_MIX.values()])[0]
        what: Callable[[], Coroutine[Any, Any, None]] = getattr(self, f"_{kind}")
        try:
            await what()
        except Exception as error:
            self.answers[kind, f"{type(error).__name__} of the load's own"] += 1

    async def _ask(
        self, kind: str, url: str, cookie: str = "", *, user: int = -1, **more: Any
    ) -> Answer:
        began = time.monotonic()
        answer = await ask(self.port, url, cookie, **more)
        ended = time.monotonic()
        self.slowest = max(self.slowest, ended - began)
        outcome = self._outcome(answer, began)
        self.answers[kind, outcome] += 1
        self._lately[user].append(f"{began:.3f} to {ended:.3f} {kind} {outcome}")
        return answer

    def _outcome(self, answer: Answer, began: float) -> str:
        if lost(answer):
            is_killed = began - _OF_A_KILL < self.killed_at
            return "lost with a worker" if is_killed else "lost"
        if answer.status == 503 and not answer.header("retry-after"):
            return "503 without Retry-After"
        return str(answer.status)

    # --- requests ------------------------------------------------------------------

    async def _call(self) -> None:
        """Send an authenticated user's request, sometimes from several tabs at once."""
        free = [user for user in self._cookies if user not in self._busy]
        if not free:
            await self._login()
            return
        user = self._chance.choice(free)
        cookie = self._cookies[user]
        answer = await self._ask("call", "/api", cookie, user=user)
        # A login that began meanwhile ends the session before its answer is here.
        is_outdated = user in self._busy or self._cookies.get(user) != cookie
        if answer.status != 200 or is_outdated:
            return
        signed_in, open_id, token = answer.who
        if not signed_in:
            del self._cookies[user]
            self.answers["call", "signed out"] += 1
            past = "; ".join(self._lately[user])
            self.puzzles.append(f"signed out: {past}; killed at {self.killed_at:.3f}")
        elif open_id != self.person(user).open_id:
            self.answers["call", "somebody else"] += 1
        elif not token:
            self.answers["call", "no token"] += 1

    async def _login(self) -> None:
        user = self._chance.randrange(USERS)
        if user in self._busy:
            return
        self._busy.add(user)
        try:
            begun = await self._ask(
                "login", f"{LOGIN}?next=/x", self._cookies.get(user, ""), user=user
            )
            if begun.status != 303:
                return
            known = self.person(user)
            back = self._fake.consent(begun.header("location"), person=known)
            callback = urlsplit(back)
            cookies = "; ".join(filter(None, [self._cookies.get(user), begun.cookies]))
            self.logins.append(time.time())
            url = f"{callback.path}?{callback.query}"
            done = await self._ask("callback", url, cookies, user=user)
            if done.status == 303:
                self._cookies[user] = done.cookies
            elif lost(done) or done.status == 503:
                # The new session may have been stored in place of the old one.
                self._cookies.pop(user, None)
        finally:
            self._busy.discard(user)

    async def _logout(self) -> None:
        free = [user for user in self._cookies if user not in self._busy]
        if not free:
            return
        user = self._chance.choice(free)
        cookie = self._cookies.pop(user)
        posted = {"method": "POST", "headers": _SAME_ORIGIN}
        await self._ask("logout", LOGOUT, cookie, user=user, **posted)

    async def _webhook(self) -> None:
        """Deliver webhooks: without a user, forged, and sometimes a withdrawal."""
        number = self._chance.randrange(100)
        event, open_id = "video.publish.completed", None
        user = self._chance.randrange(USERS)
        if number < 5 and user not in self._busy:
            event, open_id = "authorization.removed", self.person(user).open_id
            self._cookies.pop(user, None)
            self._busy.add(user)  # the withdrawal could end a login that came before it
        content = {"share_id": self._chance.randrange(10**9)}
        headers, body = self._fake.webhook(event, open_id, content)
        if number > 60:
            body = body.replace(b"video", b"forged")
        self.deliveries += number <= 60
        try:
            await self._ask(
                "webhook",
                WEBHOOK,
                user=user if open_id else -1,
                method="POST",
                headers=headers,
                body=body,
            )
        finally:
            if open_id:
                self._busy.discard(user)

    async def _hostile(self) -> None:
        chance = self._chance
        url = chance.choice(["/api", LOGIN, LOGOUT, "/auth/tiktok/callback"])
        await self._ask(
            "hostile", url + chance.choice(_QUERIES), chance.choice(_HOSTILE)
        )

    async def _nobody(self) -> None:
        await self._ask("nobody", "/api")
