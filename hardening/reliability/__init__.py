"""Programs that test the package's guarantees when processes or stores fail.

One module for each figure. A figure is a generator of results: it builds a small world
(`world`), does what the docstring says, counts, and compares with its target. Nothing
here reads a log or trusts the package's own word for it: calls are counted by the
stand-in for TikTok, answers by whoever asked.

    python -m hardening.reliability [NAME ...] [--scale 1.0] [--store sqlite]
"""
