"""Text forms: of a placement or a scaling rule with its options, and of an architecture.

``siamese-norm(depth_scaling=False) gpt2+lns depth=24``: a placement, a scaling rule unless it is "unit", and
``field=value`` of what is not the default. Nothing in it has a blank, so that blanks part it; text options
write theirs as ``\\x20``. The rule may stand behind an ``@``, as in names of candidates: ``pre-norm@gpt2``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from ..base.errors import InputError, shown
from ..base.names import PATTERN

_STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ARGUMENTS = rf"(?:[^()'\"]|{_STRING})*"
_PLACEMENT = re.compile(rf"\s*({PATTERN})(?:\s*\(({_ARGUMENTS})\))?")
_RULE = rf"{PATTERN}(?:\s*\({_ARGUMENTS}\))?"
_HEAD = re.compile(rf"{_PLACEMENT.pattern}(?=[\s@]|$)(?!\s*\()")
_OPTION = re.compile(rf"\s*(\w+)\s*=\s*({_STRING}|[^,'\"]+?)\s*(?:,|$)")
_RULES = re.compile(rf"(?:\s+|\s*@\s*)({_RULE}(?:\s*\+\s*{_RULE})*)(?=\s|$)(?!\s*\()")
#: words that are values, as Python writes them, and truth as JSON, TOML and YAML do
_WORDS = {"None": None, "True": True, "False": False, "true": True, "false": False}

PLACEMENT_EXAMPLE = "'post-norm' or 'siamese-norm(depth_scaling=False)'"
RULE_EXAMPLE = "'gpt2', 'gpt2+lns' or 'gamma-init(gamma=0.75)'"
EXAMPLE = "'pre-norm gpt2 depth=24'"


def parse_placement(text: Any) -> tuple[str, dict[str, Any]]:
    """Split ``"siamese-norm(depth_scaling=False)"`` into the name and its options.

    Raises:
        InputError: the text is not a name with an optional list of ``option=value``.
    """
    match = _PLACEMENT.fullmatch(text.rstrip()) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"expected a placement such as {PLACEMENT_EXAMPLE}, got {shown(text)}")
    return match[1], _options(match[2] or "")


def parse_rules(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Split ``"gpt2+gamma-init(gamma=0.75)"`` into the rules, each with its options.

    Raises:
        InputError: the text is not names, each with an optional list of ``option=value``, joined by plus
            signs.
    """
    found, at = [], 0
    while match := _PLACEMENT.match(text, at):
        found.append((match[1], _options(match[2] or "")))
        rest = text[match.end() :].lstrip()
        if not rest:
            return found
        if not rest.startswith("+"):
            break
        at = len(text) - len(rest) + 1
    raise InputError(f"expected a scaling rule such as {RULE_EXAMPLE}, got {shown(text)}")


def placement_text(name: str, options: Mapping[str, Any]) -> str:
    """The text of a placement, or of a rule, with its options; the inverse of :func:`parse_placement`, and of
    :func:`parse_rules` for one rule."""
    if not options:
        return name
    written = {key: repr(value).replace(" ", "\\x20") for key, value in sorted(options.items())}
    return f"{name}({', '.join(f'{key}={value}' for key, value in written.items())})"


def parse_fields(text: Any) -> dict[str, Any]:
    """The fields of an architecture's text form, by name.

    Raises:
        InputError: no text, no placement in front, no rule behind an ``@``, something else than
            ``field=value`` behind them, or a field twice.
    """
    match = _HEAD.match(text) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"expected the text form of an Architecture, such as {EXAMPLE}, got {shown(text)}")
    values: dict[str, Any] = {"placement": match[0].strip()}
    rules = _RULES.match(text, match.end())
    if rules is not None:
        values["scaling"] = rules[1]
    rest = text[(rules or match).end() :]
    if rules is None and rest.lstrip().startswith("@"):
        raise InputError(f"expected a scaling rule such as {RULE_EXAMPLE} behind the @ of {shown(text)}")
    for word in rest.split():
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(
                f"expected field=value behind placement and scaling in {shown(text)}, got {shown(word)}"
            )
        if key in values:
            raise InputError(f"{key} is given twice in {shown(text)}")
        values[key] = value
    return values


def scalar(text: str) -> Any:
    """A number, True, False or None that text says; else the text."""
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _options(arguments: str) -> dict[str, Any]:
    """Options by name, from ``name=value, name=value``."""
    options: dict[str, Any] = {}
    at, text = 0, arguments.strip()
    while at < len(text):
        match = _OPTION.match(text, at)
        value = None if match is None else _literal(match[2])
        if match is None or (isinstance(value, str) and not _is_text(match[2])):
            raise InputError(
                "expected option=value, the value a number, True, False, a word or text in quotes, got "
                f"{shown(text[at:])}"
            )
        if match[1] in options:
            raise InputError(f"the option {match[1]} is given twice in {shown(text)}")
        options[match[1]], at = value, match.end()
    return options


def _is_text(written: str) -> bool:
    """Whether a text value is in quotes, or a word that needs none."""
    return written[0] in "'\"" or re.fullmatch(PATTERN, written) is not None


def _literal(text: str) -> Any:
    """The value of a scalar, or of text in quotes."""
    if text[0] not in "'\"":
        return scalar(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise InputError(f"expected text in quotes, got {shown(text)}") from None
