"""Programs that test the package's guarantees when processes or stores fail.

Each figure has a module. A figure is a generator of results: it builds a small world
(`world`), does what its docstring says, counts, and compares with its target. No figure
is read from a log or from the package's own counters: the stand-in for TikTok counts
calls, and clients count answers.

    python -m hardening.reliability [NAME ...] [--scale 1.0] [--store sqlite]
"""
