r"""Plain text for LaTeX, whatever is in it: the one function that escapes.

Of what is not ASCII, pdfLaTeX sets letters with accents, dashes, quotes, Greek and the signs below; anything
else it would refuse, and its code point stands for it.
"""

from __future__ import annotations

import unicodedata

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    # behind the end of a table's row these would be read as its options
    "[": "{[}",
    "*": "{*}",
}
#: LaTeX for each of a row of signs
_SIGNS = {
    **dict(zip("–—‘’“”…", ("--", "---", "`", "'", "``", "''", r"\ldots{}"), strict=True)),
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "→": r"$\to$",
    "∂": r"$\partial$",
    "∇": r"$\nabla$",
}
#: combining accents
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
_SMALL = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau"
_GREEK = frozenset(f"{_SMALL} upsilon phi chi psi omega".split())
_CAPITALS = frozenset(
    ["gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega"]
)


def escape(text: str) -> str:
    """Plain text for LaTeX, on one line."""
    return "".join(map(_one, " ".join(unicodedata.normalize("NFC", text).split())))


def _one(character: str) -> str:
    known = _SPECIAL.get(character) or _SIGNS.get(character)
    if known is not None:
        return known
    if character.isascii() and character.isprintable():
        return character
    base, marks = (parts := unicodedata.normalize("NFD", character))[0], parts[1:]
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii() and base.isalpha():
        dotless = {"i": r"\i", "j": r"\j"}.get(base, base) if marks[0] != "\u0327" else base
        return rf"\{_ACCENTS[marks[0]]}{{{dotless}}}"
    alphabet, _, name = unicodedata.name(character, "").rpartition(" LETTER ")
    name = name.lower().replace("lamda", "lambda")
    if alphabet == "GREEK SMALL" and name in _GREEK:
        return rf"$\{name}$"
    if alphabet == "GREEK CAPITAL" and name in _CAPITALS:
        return rf"$\{name.capitalize()}$"
    return f"{{[}}U+{ord(character):04X}]"
