"""Findings as text, in colour on a terminal, or as JSON; and the exit code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tiktok_oauth_middleware._core.findings import Finding, Level
from tiktok_oauth_middleware._oauth.scopes import BASIC_SCOPE

#: Select Graphic Rendition (ECMA-48 section 8.3.117): green, yellow, bold red.
_COLOURS: Mapping[Level, str] = {"good": "32", "note": "33", "wrong": "1;31"}


def exit_code(findings: Sequence[Finding], *, strict: bool) -> int:
    """Return 1 if a finding is wrong, or with `strict` a note; else 0."""
    bad = ("wrong", "note") if strict else ("wrong",)
    return int(any(finding.level in bad for finding in findings))


def as_json(
    findings: Sequence[Finding], register: Mapping[str, Any] | None, code: int
) -> str:
    """Return everything as one JSON object."""
    report = {
        "findings": [asdict(finding) for finding in findings],
        "register": register,
        "exit_code": code,
    }
    return json.dumps(report, indent=2)


def as_text(
    findings: Sequence[Finding], register: Mapping[str, Any] | None, *, colour: bool
) -> str:
    """Return a line or two for each finding, and the values for the portal."""
    lines = [line for f in findings for line in _lines(f, colour=colour)]
    if register is not None:
        if any(finding.code == "stand_in" for finding in findings):
            lines += ["", "The stand-in needs no registration; TikTok does."]
        lines += ["", *_register(register)]
    count = Counter(finding.level for finding in findings)
    notes = "note" if count["note"] == 1 else "notes"
    total = f"{count['wrong']} wrong, {count['note']} {notes}, {count['good']} good"
    lines += ["", total]
    return "\n".join(lines)


def _lines(finding: Finding, *, colour: bool) -> Iterator[str]:
    level: str = finding.level
    if colour:
        level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
    yield f"{level}: {finding.message}"
    if finding.fix:
        yield f"       {finding.fix}"


def _register(register: Mapping[str, Any]) -> Iterator[str]:
    tab = register["tab"]
    yield f"Register exactly this redirect URI at TikTok, in the {tab} tab:"
    yield f"  {register['redirect_uri']}"
    further = [s for s in register["scopes"] if s != BASIC_SCOPE]
    if further:
        yield "Add these scopes to the app; one not approved makes every login fail:"
        yield f"  {' '.join(further)}"
    if register["webhook"]:
        yield "And this webhook callback URL:"
        yield f"  {register['webhook']}"
