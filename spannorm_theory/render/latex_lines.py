r"""A formula over several lines of LaTeX: broken in front of terms, then of factors; a fraction, a root or
brackets that are wider than a line are written with delimiters that may be."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: what a formula is cut into: a command, a letter or digit, a brace, or a space
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[^\\]", re.DOTALL)

#: a matrix in brackets
MATRIX = re.compile(r"\\left\[\\begin\{matrix\}(.*?)\\end\{matrix\}\\right\]", re.DOTALL)

#: commands that take no room of their own
THIN = re.compile(r"\\(left|right|bigl|bigr|text|limits|displaystyle)$")

#: what a line may begin with
OPERATORS = ("+", "-", r"\cdot", r"\sim", "=")

#: width of a formula in ems, at most, and that of an indent
LINE, INDENT = 32.0, 1.0

Part = tuple[str, list[str], str]


def rows(left: str, right: str, room: float) -> list[str]:
    r"""The rows of an equation ``left &= right``, each at most ``room`` ems wide behind its ``&`` where the
    formula can be broken."""
    entries = [
        [cell.strip() for cell in row.split("&")]
        for found in MATRIX.findall(right)[:1]
        for row in found.split(r"\\")
    ]
    if not entries or width(right) <= room:
        return _broken(left, right, room)
    found = _broken(left, MATRIX.sub("{M}", right), room)
    for i, row in enumerate(entries, 1):
        for j, cell in enumerate(row, 1):
            found += _broken(f"M_{{{i}{j}}} &=", cell, room)
    return found


def _broken(left: str, right: str, room: float) -> list[str]:
    lines = [""]
    for piece in _pieces(right, room):
        if lines[-1] and width(lines[-1]) + width(piece) > room - INDENT * (len(lines) > 1):
            lines.append("")
        lines[-1] = f"{lines[-1]} {piece}".strip()
    return [f"{left} {lines[0]}", *(rf"&\quad {_signed(line)}" for line in lines[1:])]


def _signed(line: str) -> str:
    return line if line.startswith((*OPERATORS, r"\bigr", ",")) else rf"\cdot {line}"


def _pieces(formula: str, room: float) -> Iterator[str]:
    """Terms with their signs; those that are wider than a line as factors, and these as what they hold."""
    for term in _terms(words(formula)):
        if width(" ".join(term)) <= room - INDENT:
            yield " ".join(term)
            continue
        sign = term.pop(0) if term[0] in OPERATORS else ""
        for word in term:
            opened = None if width(word) <= room - INDENT else _opened(word)
            inner = [word] if opened is None else [*_opened_pieces(opened, room)]
            yield f"{sign} {inner[0]}".strip()
            yield from inner[1:]
            sign = ""


def _opened_pieces(parts: list[Part], room: float) -> Iterator[str]:
    for before, formulas, after in parts:
        for formula in formulas:
            inner = list(_pieces(formula, room))
            inner[0] = before + inner[0]
            inner[-1] += after  # which may be the first
            yield from inner


def _opened(word: str) -> list[Part] | None:
    """A wide fraction, root or bracket as formulas between delimiters; None of anything else."""
    if word.startswith(r"\frac{"):
        top, end = _group(word, 5)
        bottom, end = _group(word, end)
        if end == len(word):
            return [(r"\bigl(", [top], r"\bigr)"), (r"\big/ \bigl(", [bottom], r"\bigr)")]
    if word.startswith(r"\sqrt{"):
        inside, end = _group(word, 5)
        if end == len(word):
            return [(r"\bigl(", [inside], r"\bigr)^{1/2}")]
    if word.startswith(r"\left("):
        end = word.rindex(r"\right)")
        return [(r"\bigl(", [word[6:end]], rf"\bigr){word[end + 7 :]}")]
    return None


def _group(text: str, at: int) -> tuple[str, int]:
    """What the braces at ``at`` hold, and the place behind them."""
    depth = 0
    for place in range(at, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if not depth:
            return text[at + 1 : place], place + 1
    return text[at + 1 :], len(text)


def words(formula: str) -> list[str]:
    """A formula cut at the spaces that stand in no brackets."""
    found, depth = [""], 0
    for token in TOKEN.findall(formula):
        depth += (token in (r"\left", "{")) - (token in (r"\right", "}"))
        if token == " " and not depth:
            found.append("")
        else:
            found[-1] += token
    return [word for word in found if word]


def _terms(found: list[str]) -> Iterator[list[str]]:
    term: list[str] = []
    for word in found:
        if word in ("+", "-") and term:
            yield term
            term = []
        term.append(word)
    yield term


def width(formula: str) -> float:
    """How wide a formula is, in ems, about."""
    total, at = 0.0, 0
    while at < len(formula):
        token = TOKEN.match(formula, at)
        assert token is not None
        text, at = token[0], token.end()
        if text == r"\frac" and formula[at : at + 1] == "{":
            top, at = _group(formula, at)
            bottom, at = _group(formula, at)
            total += max(width(top), width(bottom)) + 0.3
        elif text in "^_" and formula[at : at + 1] == "{":
            inside, at = _group(formula, at)
            total += 0.7 * width(inside)
        elif text == r"\sqrt":
            total += 0.9
        elif text in ("+", "-", "=", r"\sim", r"\cdot", r"\quad"):
            total += 1.0
        elif not THIN.match(text) and text not in "{} &":
            total += 0.55
    return total
