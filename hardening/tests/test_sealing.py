"""`hardening.sealing` at a small scale."""

from __future__ import annotations

from hardening import sealing
from hardening.reliability.figure import Run


def test_programs():
    """A hundredth of the values of `make sealing` are all refused."""
    results = list(sealing.run(Run(scale=0.002, seed=sealing.SEED, stores=())))
    assert len(results) == 4
    assert [result.name for result in results if not result.passed] == []
    assert all(result.figures.get("tried", 1001) > 1000 for result in results)
