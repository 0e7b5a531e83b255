"""Threads for WSGI, event loops for ASGI: all that differs between the two."""
