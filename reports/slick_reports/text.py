"""Text from outside made harmless to look at: controls and bidirectional marks shown as escapes, long text cut.

Escaping for HTML or Markdown is the renderer's; this comes before it, so that every format shows the same.
"""

from __future__ import annotations

import re

# What a reader cannot see or what reorders its surroundings. U+200C and U+200D stay: Persian and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\ufffe\uffff\U000e0000-\U000e0fff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

# Characters of an answer or a name that a table shows.
SHORT = 200
# Characters of anything else.
LONG = 4000


def visible(text: str, limit: int = LONG) -> str:
    """`text` on one line, every invisible character as an escape, cut after `limit` characters with its length said."""
    shown = _INVISIBLE.sub(_escape, text[:limit])
    return shown if len(text) <= limit else f"{shown}… [cut: {len(text):,} characters]"


def short(text: str) -> str:
    """`visible` at the length that fits a table cell."""
    return visible(text, SHORT)


def without_surrogates(text: str) -> str:
    r"""`text` with lone surrogates spelled out as \udXXX, so that any reader of Unicode can take it."""
    return _SURROGATE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
