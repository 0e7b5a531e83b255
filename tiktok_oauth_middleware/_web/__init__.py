"""The parts of the middleware that ASGI and WSGI share: paths, guards, pages."""
