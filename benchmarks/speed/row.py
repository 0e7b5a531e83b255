"""A line of a table: a measured figure and its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure."""

    what: str
    figure: float
    #: "x" for a ratio to the peer, "1" for a count, else "us", "ms", "B", "RTT".
    unit: str
    #: The target's number and its figure; "" and None without a target.
    target: str = ""
    goal: float | None = None
    #: Whether the goal is a minimum instead of a maximum.
    at_least: bool = False
    ours: float | None = None
    peer: float | None = None
    peer_name: str = ""
    #: The quartiles of our rounds.
    spread: tuple[float, float] | None = None
    #: For a chart: the name of the curve, and the place on its axis.
    curve: str = ""
    at: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without a target."""
        if self.goal is None:
            return None
        if self.at_least:
            return self.figure >= self.goal
        return self.figure <= self.goal

    def cells(self) -> list[str]:
        """Return the row as a table shows it."""
        goal = ""
        if self.goal is not None:
            sign = ">=" if self.at_least else "<="
            goal = f"{sign} {self._written(self.goal)}"
        met = {True: "yes", False: "**no**", None: ""}[self.is_met]
        peer = ""
        if self.peer is not None:
            number = f"{self.peer:g}" if self.unit == "1" else _short(self.peer)
            peer = f"{self.peer_name} {number}"
        ours = "" if self.ours is None else _short(self.ours)
        if self.spread is not None:
            ours += f" ({_short(self.spread[0])} to {_short(self.spread[1])})"
        figure = self._written(self.figure)
        return [self.target, self.what, ours, peer, figure, goal, met]

    def _written(self, number: float) -> str:
        """Return a number with its unit; a count has none."""
        return f"{number:g}" if self.unit == "1" else f"{_short(number)} {self.unit}"


HEADINGS = ("", "what", "ours", "peer", "figure", "target", "met")


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table in Markdown."""
    lines = [list(HEADINGS), ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def to_plain(row: Row) -> dict[str, Any]:
    """Return a row for JSON; `Row(**found)` reads it back."""
    return asdict(row)


def _short(number: float) -> str:
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.2f}" if abs(number) >= 0.1 else f"{number:.4f}"
