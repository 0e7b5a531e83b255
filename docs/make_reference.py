"""Write docs/reference.md from the docstrings: ``make reference``.

It reads the source and imports nothing, so every supported Python writes the same. The
public names are those in ``__all__`` of the modules below; of a class, its fields and
the members that have a docstring and no leading underscore.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "tiktok_oauth_middleware"
if not PACKAGE.exists():  # the tests of the sdist read what is installed
    PACKAGE = Path(str(find_spec("tiktok_oauth_middleware").origin)).parent
#: The public modules, each with a word on it. Their public names are in ``__all__``.
MODULES: tuple[tuple[str, str], ...] = (
    ("", "Everything but guards, events and tests."),
    ("starlette", "Guards for Starlette."),
    ("fastapi", "Guards and dependencies for FastAPI."),
    ("flask", "Guards for Flask."),
    ("django", "For Django's settings; see [Django](django.md)."),
    ("django.signals", "What Django code can listen to."),
    ("django.channels", "The session in WebSockets of Channels."),
    ("django.ninja", "An auth callable for Django Ninja."),
    ("django.rest_framework", "Authentication and permissions for its views."),
    ("caching", "For caches inside the app; see [caches](caches.md)."),
    ("events", "The events, and what the log and the metrics make of each."),
    ("testing", "The stand-in for TikTok, and whole logins in one line."),
    (
        "testing.plugin",
        "Fixtures for pytest, available once the package is installed.",
    ),
    ("testing.django", "Django's test clients."),
    ("testing.server", "The stand-in over HTTP, on a port of this machine."),
    ("testing.stores", "Tests for [a store of your own](custom-store.md)."),
)
HEAD = """# Reference

Every public name, from its docstring. This page is written by `make reference`: change
the docstrings, not the page.

"""
WIDTH = 84
Function = ast.FunctionDef | ast.AsyncFunctionDef
_SECTION = re.compile(r"^(Args|Returns|Raises|Yields):$")
_ENTRY = re.compile(r"^ {4}(\S[^:]*): (.*)$")


class Source:
    """A module's text and tree, with the comments that document its names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8")
        self.lines = text.splitlines()
        self.tree = ast.parse(text)

    def find(self, name: str) -> ast.stmt | None:
        """Return the statement that defines a name, if this module does."""
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef | Function) and node.name == name:
                found: ast.stmt = node  # of overloads the last one is the real one
                if not _is_overload(node):
                    return found
            if isinstance(node, ast.Assign | ast.AnnAssign) and name in _targets(node):
                return node
        return None

    def comment(self, node: ast.stmt) -> str:
        """Return the ``#:`` lines above a statement."""
        above, line = [], node.lineno - 2
        while line >= 0 and self.lines[line].strip().startswith("#:"):
            above.append(self.lines[line].strip().removeprefix("#:").strip())
            line -= 1
        return " ".join(reversed(above))

    def module_of(self, name: str) -> Path | None:
        """Return the file that a name is imported from."""
        for node in ast.walk(self.tree):
            if not (isinstance(node, ast.ImportFrom) and node.level and node.module):
                continue
            if name in [alias.name for alias in node.names]:
                folder = self.path.parents[node.level - 1]
                return folder.joinpath(*node.module.split(".")).with_suffix(".py")
        return None

    def exported(self) -> list[str]:
        """Return the names in ``__all__``."""
        node = self.find("__all__")
        assert isinstance(node, ast.Assign)
        return sorted(ast.literal_eval(node.value), key=str.lower)


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_overload(node: ast.ClassDef | Function) -> bool:
    return "overload" in _decorators(node)


def _decorators(node: ast.ClassDef | Function) -> list[str]:
    return [ast.unparse(decorator) for decorator in node.decorator_list]


# --- docstrings --------------------------------------------------------------------


def prose(text: str) -> str:
    """Return a docstring as Markdown."""
    out: list[str] = []
    section = ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if found := _SECTION.match(line):
            section = found[1]
            out += ["", f"*{section}:*", ""]
        elif section and line.strip():
            out += _entry(section, line, out)
        elif line.strip().startswith(">>>"):
            follows = number and lines[number - 1].strip().startswith((">>>", "..."))
            out += [] if follows else ["```pycon"]
            out += [_without_directive(line)]
            ends = number + 1 == len(lines) or not lines[number + 1].strip()
            out += ["```"] if ends else []
        elif out and "```pycon" in out and out.count("```") < out.count("```pycon"):
            out.append(_without_directive(line))
            ends = number + 1 == len(lines) or not lines[number + 1].strip()
            out += ["```"] if ends else []
        else:
            section = "" if line.strip() else section
            out.append(line)
    return re.sub(r"\n{3,}", "\n\n", _literals("\n".join(out))).strip()


def _without_directive(line: str) -> str:
    return line.replace("  # doctest: +SKIP", "")


def _entry(section: str, line: str, out: list[str]) -> list[str]:
    """Return a line of a section: a new entry, or the last one's next line."""
    found = _ENTRY.match(line)
    if found and section in ("Args", "Raises"):
        names = ", ".join(f"`{name}`" for name in found[1].split(", "))
        return [f"- {names}: {found[2]}"]
    if section in ("Args", "Raises") and out and out[-1].startswith("- "):
        out[-1] += " " + line.strip()
        return []
    return [line.strip()]


def _literals(text: str) -> str:
    """Turn blocks after ``::`` into fenced ones."""
    return re.sub(
        r"::\n\n((?:(?:    .*)?\n?)+)",
        lambda m: ":\n\n```py\n" + _dedent(m[1]).strip("\n") + "\n```\n\n",
        text,
    )


def _dedent(text: str) -> str:
    return "\n".join(line[4:] for line in text.splitlines())


# --- entries -----------------------------------------------------------------------


def signature(node: Function, name: str, *, bound: bool) -> str:
    """Return a call as it is written, with types and defaults."""
    arguments = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(arguments, Function)
    if bound:
        everything = arguments.args.posonlyargs or arguments.args.args
        everything.pop(0)
    begin = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    returns = "" if name[:1].isupper() else returns
    parts = ast.unparse(arguments.args)
    line = f"{begin}{name}({parts}){returns}"
    if len(line) > WIDTH:
        inner = ",\n    ".join(_split(parts))
        line = f"{begin}{name}(\n    {inner},\n){returns}"
    return line


def _split(parts: str) -> list[str]:
    """Split arguments at the commas that stand in no brackets."""
    found, depth, last = [], 0, 0
    for place, character in enumerate(parts):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            found.append(parts[last:place].strip())
            last = place + 1
    return [*found, parts[last:].strip()]


def entry(source: Source, node: ast.stmt, name: str) -> Iterator[str]:
    """Yield the parts of one name's entry."""
    yield f"### `{name}`"
    if isinstance(node, ast.ClassDef):
        yield from _class(source, node)
    elif isinstance(node, Function):
        if "pytest.fixture" not in _decorators(node):
            yield f"```py\n{signature(node, name, bound=False)}\n```"
        yield prose(ast.get_docstring(node) or "")
    else:
        assert isinstance(node, ast.Assign | ast.AnnAssign)
        if isinstance(node.value, ast.Subscript):  # a type, such as a Literal
            yield f"```py\n{ast.unparse(node)}\n```"
        yield source.comment(node)


def _class(source: Source, node: ast.ClassDef) -> Iterator[str]:
    made = next(
        (n for n in node.body if isinstance(n, Function) and n.name == "__init__"), None
    )
    is_error = any(_is_error(base) for base in map(ast.unparse, node.bases))
    text = ast.get_docstring(node) or ""
    words = ast.get_docstring(made) if made else None
    if made is not None and not is_error and (words or "Args:" in text):
        # Without a word on it, nobody but the package makes one.
        yield f"```py\n{signature(made, node.name, bound=True)}\n```"
    bases = [b for b in map(ast.unparse, node.bases) if _is_error(b)]
    if bases and bases != ["Exception"]:
        yield f"A [`{bases[0]}`](#{bases[0].lower()})."
    yield prose(text)
    if words and not is_error:
        yield prose(words)
    yield from _fields(source, node)
    for member in node.body:
        public = isinstance(member, Function) and not member.name.startswith("_")
        if not public or not isinstance(member, Function):
            continue
        text = ast.get_docstring(member)
        # The tests of the contracts are for reading in the source.
        is_test = member.name.startswith("test_") or node.name.endswith("Contract")
        is_ours = member.name == "after_fork"
        if (
            not text
            or is_test
            or is_ours
            or any(".setter" in d for d in _decorators(member))
        ):
            continue
        if "property" in _decorators(member):
            returns = f": {ast.unparse(member.returns)}" if member.returns else ""
            yield f"**`{member.name}`**`{returns}`  \n{prose(text)}"
        else:
            call = signature(member, member.name, bound=True)
            yield f"```py\n{call}\n```\n\n{prose(text)}"


def _is_error(base: str) -> bool:
    return base == "Exception" or base.endswith("Error") or base == "TikTokOAuthError"


def _fields(source: Source, node: ast.ClassDef) -> Iterator[str]:
    """Yield a class's fields as a list; one without a comment is of the one above."""
    rows = []
    for member in node.body:
        if not isinstance(member, ast.Assign | ast.AnnAssign):
            continue
        for name in _targets(member):
            if name.startswith("_"):
                continue
            comment = source.comment(member) or _description(member)
            kind = _kind(member)
            rows.append(f"- `{name}{kind}`" + (f": {comment}" if comment else ""))
    if rows:
        yield "\n".join(rows)


def _description(member: ast.Assign | ast.AnnAssign) -> str:
    """Return the text in a field's own call: a pydantic field's, or an option's."""
    for call in ast.walk(member):
        if not isinstance(call, ast.Call):
            continue
        if ast.unparse(call.func) in ("option", "row"):
            return str(ast.literal_eval(call.args[1]))
        for keyword in call.keywords:
            if keyword.arg == "description":
                return str(ast.literal_eval(keyword.value))
    return ""


def _kind(member: ast.Assign | ast.AnnAssign) -> str:
    kind = ""
    if isinstance(member, ast.AnnAssign):
        kind = f": {ast.unparse(member.annotation)}"
    default = member.value
    if default is None:
        return kind
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "Field":
        return kind + (f" = {ast.unparse(default.args[0])}" if default.args else "")
    if isinstance(default, ast.Call) and ast.unparse(default.func) in (
        "field",
        "option",
    ):
        given = {k.arg: ast.unparse(k.value) for k in default.keywords}
        if "default" in given:
            return f"{kind} = {given['default']}"
        if "default_factory" not in given:
            return kind
        return f"{kind} = {given['default_factory']}()"
    shown = ast.unparse(default)
    return f"{kind} = {'...' if shown.startswith('_') else shown}"


# --- the page ----------------------------------------------------------------------


def source_of(module: str) -> Source:
    """Return a module of the package, by its name in it; "" is the package itself."""
    path = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    return Source(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))


def reference() -> str:
    """Return the whole page."""
    chapters, contents = [], []
    for module, words in MODULES:
        title = ".".join(filter(None, ["tiktok_oauth_middleware", module]))
        source = source_of(module)
        parts = [f"## {title}", words]
        for name in source.exported():
            home, node = source, source.find(name)
            if node is None:
                elsewhere = source.module_of(name)
                assert elsewhere is not None, name
                home = Source(elsewhere)
                node = home.find(name)
            assert node is not None, name
            parts += [part for part in entry(home, node, name) if part]
        chapters.append("\n\n".join(parts))
        slug = re.sub(r"[^\w -]", "", title.lower())
        contents.append(f"[{title}](#{slug})")
    listed = " ·\n".join(contents)
    return f"{HEAD}Modules: {listed}\n\n" + "\n\n".join(chapters) + "\n"


if __name__ == "__main__":
    target = DOCS / "reference.md"
    target.write_text(reference(), encoding="utf-8")
    print(f"wrote {target.name}", file=sys.stderr)
