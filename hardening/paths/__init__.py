"""Sends raw spellings of protected paths to real frameworks; none may pass a rule.

``python -m hardening.paths`` writes thousands of request targets as bytes, decodes them
as each server does, and sends them to each framework twice: bare, and wrapped with path
rules. A target that reaches a protected view of the bare app must not do so in the
wrapped one. Mount points come from the server, from the framework's own settings, and
from headers of the client. A seed makes a run repeatable.
"""
