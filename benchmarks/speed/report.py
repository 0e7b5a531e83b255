"""Writes the tables into the page that explains them, and draws its charts."""

from __future__ import annotations

import math
import platform
import re
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from .row import Row, table

_LIBRARIES = (
    "anyio",
    "authlib",
    "cryptography",
    "flask",
    "flask-dance",
    "httpx2",
    "httpx-oauth",
    "itsdangerous",
    "redis",
    "starlette",
    "starsessions",
    "uvicorn",
)
_OURS, _PEER, _INK = "#1f6feb", "#8c959f", "#57606a"
_WIDTH = 720


def write(measured: Mapping[str, Sequence[Row]], folder: Path) -> None:
    """Put each group's table between its marks in performance.md, and draw charts."""
    page = folder / "evidence" / "performance.md"
    text = page.read_text()
    for group, rows in measured.items():
        if not rows:  # a program is not installed: keep what was measured before
            continue
        text = _between(text, group, f"{_measured()}\n\n{table(rows)}")
    text = _between(text, "machine", _machine())
    page.write_text(text)
    images = folder / "images"
    images.mkdir(exist_ok=True)
    everything = [row for rows in measured.values() for row in rows]
    bars = [row for row in everything if row.curve.startswith("a request")]
    if bars:
        (images / "request-cost.svg").write_text(_bars(bars))
    waits = [row for row in everything if row.curve.startswith("waiting, ")]
    if waits:
        (images / "waiting.svg").write_text(_waits(waits))
    curves = [row for row in everything if row.at is not None]
    for name in dict.fromkeys(row.curve for row in curves):
        points = [row for row in curves if row.curve == name]
        (images / f"growth-{name.replace(' ', '-')}.svg").write_text(_curve(points))


def _between(text: str, name: str, new: str) -> str:
    mark = re.compile(f"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    return mark.sub(lambda found: f"{found[1]}{new}\n{found[2]}", text)


def _measured() -> str:
    """Return the day of the measurement, and the version of the code."""
    today = datetime.now(UTC)
    found = subprocess.run(
        ["git", "rev-parse", "--short=7", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    commit = f", at commit {found.stdout.strip()}" if not found.returncode else ""
    return f"Measured on {today.day} {today:%B %Y}{commit}."


def _machine() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"{platform.system()} {platform.release()}, {_processor()},"
        f" {platform.python_implementation()} {platform.python_version()}, SQLite"
        f" {sqlite3.sqlite_version}; {libraries}."
    )


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{_INK}"{more}>{words}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif"'
            f' font-size="13" viewBox="0 0 {_WIDTH} {height:.0f}">',
            *parts,
            "</svg>\n",
        ]
    )


def _bars(rows: Sequence[Row]) -> str:
    """Draw the cost of a request, ours above the peer's, on a logarithmic axis."""
    left, right, top = 20, 170, 24
    largest = max(max(row.ours or 0, row.peer or 0) for row in rows)
    least = 0.5

    def length(cost: float) -> float:
        share = math.log(max(cost, least) / least) / math.log(largest / least)
        return share * (_WIDTH - left - right)

    title = "CPU time added to a request, in microseconds (logarithmic)"
    parts, y = [_text(left, top - 4, title, ' font-weight="bold"')], top + 18.0
    for row in rows:
        interface = row.curve.partition(", ")[2]
        parts.append(_text(left, y, f"{interface}: {row.what}"))
        for cost, name, colour in (
            (row.ours or 0, "ours", _OURS),
            (row.peer or 0, row.peer_name, _PEER),
        ):
            y += 6
            wide = length(cost)
            parts.append(
                f'<rect x="{left}" y="{y:.0f}" width="{wide:.1f}" height="10"'
                f' fill="{colour}"/>'
            )
            words = f"{cost:.1f} {name}"
            parts.append(_text(left + wide + 6, y + 9, words, ' font-size="11"'))
            y += 8
        y += 24
    return _svg(y, parts)


def _waits(rows: Sequence[Row]) -> str:
    """Draw the waiting times of users, ours above the tuned peer's."""
    left, right, top = 20, 230, 24
    drawn = [row for row in rows if row.peer_name.endswith("tuned")]
    longest = max(max(row.ours or 0, row.peer or 0) for row in drawn)
    parts = [
        _text(left, top - 4, "Milliseconds until an answer", ' font-weight="bold"')
    ]
    y = top + 18.0
    for row in drawn:
        parts.append(_text(left, y, row.what))
        for wait, name, colour in (
            (row.ours or 0, "ours", _OURS),
            (row.peer or 0, row.peer_name, _PEER),
        ):
            y += 6
            wide = wait / longest * (_WIDTH - left - right)
            parts.append(
                f'<rect x="{left}" y="{y:.0f}" width="{wide:.1f}" height="10"'
                f' fill="{colour}"/>'
            )
            words = f"{wait:.0f} {name}"
            parts.append(_text(left + wide + 6, y + 9, words, ' font-size="11"'))
            y += 8
        y += 24
    return _svg(y, parts)


_TITLES = {
    "sessions": "A request, microseconds added, by number of sessions",
    "waiting requests": "Each request that waits for one refresh, microseconds",
}


def _curve(points: Sequence[Row]) -> str:
    """Draw the growth of a cost, on an axis of powers of ten."""
    top, left, wide, high = 20, 60, _WIDTH - 120, 150
    most_x = max(point.at or 1 for point in points)
    most_y = max(point.figure for point in points) * 1.15

    def x(at: float | None) -> float:
        return left + math.log10(at or 1) / math.log10(most_x) * wide

    def y(figure: float) -> float:
        return top + 20 + high - figure / most_y * high

    line = " ".join(f"{x(p.at):.1f},{y(p.figure):.1f}" for p in points)
    parts = [
        _text(20, top + 4, _TITLES[points[0].curve], ' font-weight="bold"'),
        f'<line x1="{left}" y1="{y(0):.1f}" x2="{left + wide}" y2="{y(0):.1f}"'
        f' stroke="{_PEER}"/>',
        f'<polyline points="{line}" fill="none" stroke="{_OURS}" stroke-width="2"/>',
    ]
    for point in points:
        here = x(point.at), y(point.figure)
        parts += [
            f'<circle cx="{here[0]:.1f}" cy="{here[1]:.1f}" r="3" fill="{_OURS}"/>',
            _text(here[0] - 10, here[1] - 8, f"{point.figure:.1f}", ' font-size="11"'),
            _text(here[0] - 10, y(0) + 16, f"{point.at:,.0f}", ' font-size="11"'),
        ]
    return _svg(230, parts)
