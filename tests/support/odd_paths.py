"""The ways to spell a path that some proxy, server or framework takes for another."""

from __future__ import annotations

#: Characters that some parser strips, or reads as an end, a slash or a dot.
_ODD = [
    *(chr(number) for number in range(0x21)),
    *'!"#$%&*+,;<=>?@[\\]^`{|}~\x7f\x80\x85\xa0\xad',
    "\u2028",
    "\u200b",
    "\u3000",
    "\ufeff",
    "\uff0f",
    "\u2024",
    "\u2025",
    "%2f",
    "%5c",
    "%2e",
    "%0a",
    "%00",
    "%20",
    "..",
    ".",
    "...",
    "..;",
    ";x=y",
    "//",
    "\\\\",
    ".html",
    ".json",
    "?x",
    "#x",
    "/.",
    "/..",
    "/%2e%2e",
    "\r\n",
]


def spelled(path: str) -> list[str]:
    """Return other spellings of a decoded path that begins with a slash."""
    cut = path.rindex("/")
    made = [path.upper(), path.title(), path.swapcase(), path[1:], path * 2]
    made += [f"https://app.example.com{path}", f"http:{path}", f"x:{path}", f"?{path}"]
    for odd in _ODD:
        made += [
            path + odd,
            f"{path}/{odd}",
            f"{path}{odd}/",
            odd + path,
            f"/{odd}{path}",
            f"/{odd}{path[1:]}",
            f"/{odd}/{path}",
            f"/x/{odd}{path}",
            f"/x/..{odd}{path}",
            f"/x{odd}{path}",
            f"{path[:cut]}{odd}{path[cut:]}",
            f"{path[:cut]}/{odd}{path[cut:]}",
            f"{path[: cut + 1]}{odd}{path[cut + 1 :]}",
            path[:3] + odd + path[3:],
        ]
    return [other for other in dict.fromkeys(made) if other != path]
