"""A thousand unfinished logins never lock a browser out.

Servers refuse a request whose headers are too large, so our cookies must stay few. This
browser accepts every Set-Cookie and drops no cookie by itself. Logins begin one after
the other, and also many at the same moment, as when a browser restores tabs: those
requests do not have each other's cookies.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from urllib.parse import urlsplit

from tiktok_oauth_middleware.testing import FakeTikTok

from .figure import Result, Run, opened
from .world import LOGIN, Answer, Clock, Plan, Wsgi, person, watcher

_LOGINS = 1000
_LIMIT = 4096
#: The number of logins that begin at the same time, for each round.
_BURSTS = (2, 7, 20, 50)


def run(args: Run) -> Iterator[Result]:
    """Yield two results: logins one after the other, and at the same time."""
    with opened("sqlite") as url:
        clock = Clock()
        fake = watcher(clock)
        plan = Plan(store=url, store_timeout=args.store_timeout)
        app = Wsgi(plan, clock, transport=fake.transport)
        chance = random.Random(args.seed)
        yield _in_turn(args, app, fake, clock, chance)
        yield _at_once(args, app, fake, clock, chance)
        app.close()


class _Jar:
    """A browser's cookies of one site."""

    def __init__(self) -> None:
        self._cookies: dict[str, str] = {}

    def take(self, answer: Answer) -> None:
        for name, header in answer.headers:
            if name.lower() == "set-cookie":
                cookie, _, value = header.partition(";")[0].partition("=")
                self._cookies.pop(cookie, None)
                if "Max-Age=0" not in header:
                    self._cookies[cookie] = value

    @property
    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self._cookies.items())

    def __len__(self) -> int:
        return len(self._cookies)


def _in_turn(
    args: Run, app: Wsgi, fake: FakeTikTok, clock: Clock, chance: random.Random
) -> Result:
    jar = _Jar()
    largest = most = broken = 0
    for number in range(args.times(_LOGINS, 50)):
        clock.value += chance.choice([0, 1, 5])
        begun = app.ask(jar.header, _login(chance))
        jar.take(begun)
        largest, most = max(largest, len(jar.header)), max(most, len(jar))
        if number % 50 == 0:
            broken += not _newest_works(app, fake, jar, begun)
    broken += not _newest_works(app, fake, jar, begun)
    figures = {"logins": number + 1, "cookies_max": most, "bytes_max": largest}
    passed = largest <= _LIMIT and not broken
    return Result(
        name="jar.in_turn", passed=passed, figures=figures | {"broken": broken}
    )


def _at_once(
    args: Run, app: Wsgi, fake: FakeTikTok, clock: Clock, chance: random.Random
) -> Result:
    jar = _Jar()
    begun_all = largest = broken = 0
    while begun_all < args.times(_LOGINS, 50):
        clock.value += 1
        burst = _BURSTS[begun_all % len(_BURSTS)]
        sent = jar.header  # by all of them, before the first response
        answers = [app.ask(sent, _login(chance)) for _ in range(burst)]
        for answer in answers:
            jar.take(answer)
        begun_all += burst
        largest = max(largest, len(jar.header))
        broken += not _newest_works(app, fake, jar, answers[-1])
    figures = {
        "logins": begun_all,
        "at_once_max": max(_BURSTS),
        "bytes_max": largest,
        "broken": broken,
    }
    passed = largest <= _LIMIT and not broken
    return Result(name="jar.at_once", passed=passed, figures=figures)


def _login(chance: random.Random) -> str:
    return f"{LOGIN}?next=/{'x' * chance.choice([0, 20, 300, 2000])}"


def _newest_works(app: Wsgi, fake: FakeTikTok, jar: _Jar, begun: Answer) -> bool:
    """Finish the login that was begun last."""
    callback = urlsplit(fake.consent(begun.header("location"), person=person(1)))
    done = app.ask(jar.header, f"{callback.path}?{callback.query}")
    jar.take(done)
    return done.status == 303
