"""Serve the example with uvicorn: ``python -m examples.starlette_app``."""

from __future__ import annotations

import argparse

import uvicorn

from ..stand_in import settings_in_environment


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.starlette_app")
    parser.add_argument("--port", type=int, default=8000)
    port: int = parser.parse_args().port
    with settings_in_environment(port):
        uvicorn.run("examples.starlette_app.app:app", port=port, log_level="warning")


if __name__ == "__main__":
    main()
