"""The findings of axe, a program that examines pages for accessibility."""

from __future__ import annotations

from pathlib import Path


def violations(tab):
    """Return the findings of axe: rule and place."""
    import axe_playwright_python

    if not tab.evaluate("'axe' in window"):
        axe = Path(axe_playwright_python.__file__).parent / "axe.min.js"
        tab.evaluate(axe.read_text())
    # Best practices too, not only what the guidelines demand.
    found = tab.evaluate(
        "axe.run(document, {resultTypes: ['violations', 'incomplete']})"
    )
    assert len(found["passes"]) > 10
    return [
        (result["id"], [node["html"] for node in result["nodes"]])
        for result in found["violations"] + found["incomplete"]
    ]
