"""Sends raw spellings of protected paths to real frameworks; none may reach a view.

``python -m hardening.paths`` writes thousands of request targets as bytes, decodes
them as each server does, and asks each framework with them twice: as it is, and wrapped
with path rules. A target that reaches a protected view of the bare app must not do so
in the wrapped one. Mount points come from the server, from the framework's own
settings, and from headers of the client. A seed makes a run repeatable.
"""
