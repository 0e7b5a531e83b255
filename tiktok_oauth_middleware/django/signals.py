"""Signals of the TikTok login; the sender is always `TikTokAccount`'s class.

``logged_in`` and ``connected`` are sent with ``request``, ``user``, ``account``,
``created`` and ``login``; ``disconnected`` and ``withdrawn`` with ``open_id``, and with
``user`` and ``account``, which are None where no account has this open_id any more.
"""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["connected", "disconnected", "logged_in", "withdrawn"]

#: A TikTok login signed a Django user in; `created`: the user was made for it.
logged_in = Signal()
#: Who was signed in to Django connected a TikTok account; `created`: a new one.
connected = Signal()
#: The app was disconnected from a TikTok account, from here.
disconnected = Signal()
#: The person removed the app at TikTok, which its webhook reported.
withdrawn = Signal()
