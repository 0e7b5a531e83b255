"""Processes that are quick to start: forked from one that has imported what they need.

A spawned process imports all of it again, which takes most of a second.
"""

from __future__ import annotations

import multiprocessing

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.conftest"])
