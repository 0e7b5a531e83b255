"""Signals of the TikTok login; the sender is always `TikTokAccount`'s class.

``logged_in`` and ``connected`` are sent with ``request``, ``user``, ``account``,
``created`` and ``login``; ``disconnected`` and ``withdrawn`` with ``open_id``, and with
``user`` and ``account``, which are None if no account has this open_id any more.
"""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["connected", "disconnected", "logged_in", "withdrawn"]

#: A TikTok login signed a Django user in; `created`: the user was made for it.
logged_in = Signal()
#: A signed-in Django user connected a TikTok account; `created`: it was new.
connected = Signal()
#: The project disconnected the app from a TikTok account.
disconnected = Signal()
#: The person removed the app at TikTok, which its webhook reported.
withdrawn = Signal()
