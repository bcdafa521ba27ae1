"""Formulas in the letters of plain text, as ``sqrt(2L)`` or ``sigma_f^2``, as markup that reads as print."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

#: names of letters, which stand alone or have an index or a power; a rule's name, as gamma-init, is none
_LETTERS = {
    "sigma": "σ",
    "omega": "ω",
    "gamma": "γ",
    "lambda": "λ",
    "alpha": "α",
    "beta": "β",
    "rho": "ρ",
    "Theta": "Θ",
}
_LETTER = re.compile(rf"(?<![\w.])(?<!\w-)({'|'.join(_LETTERS)})(?![A-Za-z]|-[a-z])")

#: an index of one letter: q_00, ω_i; not a name of code, as scale_emb
_INDEX = re.compile(r"(?<![\w-])([A-Za-zα-ωΘ])_([a-z]?\d+|[A-Za-z])(?!\w)")

_NESTED = r"(?:[^()]|\([^()]*\))*"
_POWER = re.compile(rf"\^(?:\(({_NESTED})\)|(-?[\d.]*\d|[a-zαβ]\b))")

#: signs, in the order in which they are replaced; what they stand in has no markup yet but entities
_SIGNS = (
    (r"&lt;=", "≤"),
    (r"&gt;=", "≥"),
    (r"&lt;-", "←"),
    (r"-&gt;", "→"),
    (r"(?<![\w.])sqrt(?=\()", "√"),
    (r"√\((\w)\)", r"√\1"),
    (r"(?<=[\w),]) x (?=[\d√(]|L\^|c L|constant|depth/)", " × "),
    (r" \+- ", " ± "),
    (r"(?<![\w.])log(?=\()", "ln"),
    (r"(?<=[\w)>])\*(?=[\w√(])", "·"),
    (r"(?<=[\w)]) - (?=[\w√(])", " − "),
    (r"(?<=[(=/ ])-(?=ln\(|[\d√]|[a-zσωγλαβρ][\d_^/])", "−"),
)


def typeset(text: str) -> Markup:
    """A sentence as markup: letters, indices, powers, roots and signs; double backticks enclose code."""
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    for at, part in enumerate(parts):
        parts[at] = f"<code>{escape(part.strip('`'))}</code>" if at % 2 else _formulas(part)
    return Markup("".join(parts))


def raised(text: str) -> Markup:
    """Words with exponents, such as e^(0.2 L^0.5) or L^-1, as markup."""

    def power(match: re.Match[str]) -> str:
        exponent = raised(match[1] or match[2]).replace("-", "−")
        return f"<sup>{exponent}</sup>"

    return Markup(_POWER.sub(power, str(escape(text))))


def _formulas(text: str) -> str:
    found = _LETTER.sub(lambda match: _LETTERS[match[1]], str(escape(text)))
    for pattern, sign in _SIGNS:
        found = re.sub(pattern, sign, found)
    found = _INDEX.sub(r"\1<sub>\2</sub>", found)
    return str(raised(Markup(found)))
