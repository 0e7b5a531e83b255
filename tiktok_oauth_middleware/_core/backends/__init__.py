"""Threads for WSGI, event loops for ASGI: the one place where the two differ."""
