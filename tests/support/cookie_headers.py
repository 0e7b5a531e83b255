"""Cookie headers: ours, those that look like ours, malformed and huge ones."""

from __future__ import annotations

import random

NAME = b"__Host-tiktok"
PREFIX = b"__Host-tiktok-login-"


def header(*values):
    return [(b"cookie", value) for value in values]


MALFORMED_NEIGHBOURS = [
    b"",
    b"=",
    b"=x",
    b"x",
    b'a="',
    b'a="b',
    b'a="b\\"c"',
    b'"=x',
    b"a b=c",
    b"a=b c",
    b"a=b,c=d",
    b"a[]=b",
    b"a(b)=c",
    b"a=\\073",
    b"a=\\",
    b"a=" + b"\\" * 500,
    b"\xff\xfe=\xfd",
    b"a=\x00",
    b"a=\x01\x1f\x7f",
    b"a=\r\n",
    b"\xc3\xbc=\xc3\xbc",
    b"\xe2\x80\x83=x",
    b"{'json': \"x\"}",
    b"%3B=%3B",
    b"$Version=1",
    b"expires=Wed, 21 Oct 2026 07:28:00 GMT",
    b"path=/",
    b"HttpOnly",
    b"====",
    b"__Host-tiktok",
    b"__Host-tiktok2=evil",
    b"x__Host-tiktok=evil",
    b"x=__Host-tiktok=evil",
    b"a=" + b"j" * 4096,
]

LOOK_ALIKES = [
    b"__host-tiktok",
    b"__HOST-TIKTOK",
    b"__Host-TikTok",
    b"__Host-tiktok ",
    b"__Host-tiktok\t",
    b"__Host-tiktok\x00",
    b"\x00__Host-tiktok",
    b"\x0b__Host-tiktok",
    b"\x0c__Host-tiktok",
    b"\r__Host-tiktok",
    b"\n__Host-tiktok",
    b"\x1c__Host-tiktok",
    b"\x1f__Host-tiktok",
    b"\x85__Host-tiktok",
    b"\xa0__Host-tiktok",
    b"\xc2\xa0__Host-tiktok",
    b"\xc2\x85__Host-tiktok",
    b"\xe2\x80\x83__Host-tiktok",
    b"\xe2\x80\x80__Host-tiktok",
    b"\xe2\x80\xa8__Host-tiktok",
    b"\xe3\x80\x80__Host-tiktok",
    b"\xe1\x9a\x80__Host-tiktok",
    b"\xef\xbb\xbf__Host-tiktok",
    b"__Host-tiktok\xe2\x80\x83",
    b"__Host\xe2\x80\x90tiktok",
    b"__Host-t\xd1\x96ktok",
    b"__H%6fst-tiktok",
    b"%5F%5FHost-tiktok",
    b'"__Host-tiktok"',
    b"__Host-tiktok[]",
    b"__Secure-tiktok",
    b"__HostX-tiktok",
    b"_Host-tiktok",
    b"tiktok",
    b"=__Host-tiktok",
    b"$__Host-tiktok",
    b"a,__Host-tiktok",
]

SPOOFED_VALUES = [b"evil", b"", b'"evil"', b"evil\x00", b"\xff", b"e" * 5000, b"="]
BETWEEN = [b";", b"; ", b";\t", b" ; ", b";;", b" ;\t ;"]


def drawn_neighbours(draw):
    """Return up to eight cookies that are malformed, spoofed, or random bytes."""
    kinds = [
        lambda: draw.choice(MALFORMED_NEIGHBOURS),
        lambda: draw.choice(LOOK_ALIKES) + b"=" + draw.choice(SPOOFED_VALUES),
        lambda: draw.randbytes(draw.randrange(40)).replace(b";", b","),
        lambda: draw.choice(LOOK_ALIKES) + draw.choice([b"", b" ", b"\xc2\xa0", b"=="]),
        lambda: PREFIX + draw.randbytes(3).hex().encode() + b"=x",
    ]
    return [draw.choice(kinds)() for _ in range(draw.randrange(9))]


def drawn_headers(draw, cookies):
    """Return the cookies joined in some way, in one Cookie header or in several."""
    parts = list(cookies)
    lines = []
    while parts:
        taken = draw.randrange(1, len(parts) + 1)
        lines.append(draw.choice(BETWEEN).join(parts[:taken]))
        del parts[:taken]
    return header(*lines)


# --- time --------------------------------------------------------------------------

MEGABYTE = 1_000_000


def megabyte_of(unit):
    return (unit * (MEGABYTE // len(unit) + 1))[:MEGABYTE]


SLOW = {
    "backslashes": b'a="' + megabyte_of(b"\\"),
    "quotes": megabyte_of(b'"'),
    "semicolons": megabyte_of(b";"),
    "semicolons and spaces": megabyte_of(b"; \t"),
    "spaces": megabyte_of(b" "),
    "spaces before our name": b";" + megabyte_of(b" ") + NAME,
    "equals": megabyte_of(b"="),
    "octal": b'a="' + megabyte_of(b"\\073"),
    "nul": megabyte_of(b"\x00"),
    "our name": megabyte_of(NAME),
    "our name, no value": megabyte_of(NAME + b";"),
    "our name, one value": megabyte_of(NAME + b"=a;"),
    "our name, values": b";".join(NAME + b"=%d" % n for n in range(48_000)),
    "value": NAME + b"=" + megabyte_of(b"x"),
    "value of spaces": NAME + b"=" + megabyte_of(b" "),
    "login cookies": b";".join(PREFIX + b"%d=x" % n for n in range(36_000)),
    "one login cookie": megabyte_of(PREFIX + b"a=x;"),
    "login prefix": PREFIX + megabyte_of(b"x"),
    "login prefixes": megabyte_of(PREFIX),
    "long login ids": megabyte_of(b";" + PREFIX + b"x" * 64),
    "random": random.Random("cookies: a megabyte").randbytes(MEGABYTE),
}
