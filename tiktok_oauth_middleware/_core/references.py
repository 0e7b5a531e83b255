"""References, which a shell or a template engine was to replace by a value."""

from __future__ import annotations

#: ${NAME}, $(command), %(NAME)s or {{ name }}, as a regular expression. A key of
#: Django's letters is in "$(" and ")" once in 125,000 times, so a name, a file or a
#: command has to be there.
REFERENCE = r"\$\{.+?\}|\$\(\s*(?:\w+|<.*?|\S+\s.*?)\)|%\(\w+\)s|\{\{.+?\}\}"
FAULT = "a reference, such as ${NAME}, that nothing has replaced"
