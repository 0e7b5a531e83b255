"""The middleware without ASGI and WSGI: paths, guards, pages."""
