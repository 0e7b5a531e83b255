"""Changes to autodoc's output in the reference."""

from __future__ import annotations

import inspect
from secrets import token_hex
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sphinx.ext.napoleon import Config, GoogleDocstring

if TYPE_CHECKING:
    from docutils.nodes import TextElement, reference
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_NAPOLEON = Config(napoleon_use_rtype=False)
#: Docstrings that Python and pydantic write.
_NOT_OURS = (
    "Alias for field number",
    "Create new instance of",
    "Configuration for the",
)


def _skip(
    _: Sphinx, kind: str, name: str, found: object, skip: bool, __: object
) -> bool | None:
    """Leave out methods without a docstring, and tests, for reading in the source."""
    no_doc = inspect.isroutine(found) and not inspect.getdoc(found)
    for_others = name.startswith("test_") or name in ("after_fork", "model_config")
    return True if no_doc or for_others else None


def _explained(found: Any) -> str:
    """Return the docstring that a class of ours gives its own ``__init__``, or ""."""
    made = vars(found).get("__init__")
    return (
        inspect.cleandoc(getattr(made, "__doc__", None) or "")
        if inspect.isfunction(made)
        else ""
    )


def _sign(
    _: Sphinx,
    kind: str,
    __: str,
    found: Any,
    ___: object,
    signature: str | None,
    ____: str,
) -> tuple[str, None] | None:
    """Leave out the arguments of a class whose objects only the package makes.

    Those of a class for users are explained, by its ``__init__`` or below ``Args:``.
    """
    if kind not in ("class", "exception") or not signature:
        return None
    is_explained = _explained(found) or "Args:" in (found.__doc__ or "")
    return None if is_explained and kind == "class" else ("", None)


def _write(
    app: Sphinx, kind: str, name: str, found: Any, options: object, lines: list[str]
) -> None:
    """Turn a docstring in Google's style into reStructuredText."""
    if lines and lines[0].startswith(_NOT_OURS):
        lines.clear()
    if kind == "class" and (made := _explained(found)):
        lines += ["", *made.splitlines()]
    # Napoleon takes an attribute's "One: two" for a type and a description.
    section = "object" if kind in ("attribute", "data", "property") else kind
    lines[:] = GoogleDocstring(
        lines, _NAPOLEON, app, section, name, found, options
    ).lines()


def _find(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: TextElement
) -> reference | None:
    """Look a name up in the package, if the module that mentions it has none."""
    name = node.get("reftarget", "")
    if node.get("refdomain") != "py" or "tiktok_oauth_middleware" in name:
        return None
    name = f"tiktok_oauth_middleware.{name}"
    return env.domains.python_domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", name, node, shown
    )


def _without_proxies() -> None:
    """Replace Flask's proxies, which autodoc looks into, and which need a request."""
    from tiktok_oauth_middleware import flask

    flask.tiktok_auth = SimpleNamespace()  # type: ignore[assignment]
    flask.signed_in_auth = SimpleNamespace()  # type: ignore[assignment]


def _set_up_django() -> None:
    """Make the project that Django's modules need to be imported."""
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "tiktok_oauth_middleware.django",
        ],
        SECRET_KEY=token_hex(),
        USE_TZ=True,
    )
    django.setup()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    _set_up_django()
    _without_proxies()
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _sign)
    app.connect("autodoc-process-docstring", _write)
    app.connect("missing-reference", _find)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
