"""The theorems of the write-up, with their proofs, as a page: LaTeX, as far as these use it, as Markdown.

The formulas in it are those of which the build of the write-up proves that the library derives them.
"""

from __future__ import annotations

import re
from pathlib import Path

PAPER = Path(__file__).resolve().parents[2] / "papers" / "norm-placement"

HEAD = """# Theorems and proofs

What [the write-up](papers/norm-placement/paper.pdf) states and proves, under its numbers; figures and
measurements are there. Its build stops at a displayed formula that is not what the library derives from the
definition of a placement. [The theory](docs/theory.md) is about all that the toolkit computes,
[the claims](claims.md) about what others say.

"""

#: the part that says what letters and words mean, of which everything is shown
SETTING = "sec:setting"

_MACRO = re.compile(r"^\\(newcommand|DeclareMathOperator)\{\\(\w+)\}\{(.*)\}$", re.M)
_STATED = re.compile(
    r"\\begin\{(theorem|proposition|corollary|proof)\}(?:\[([^\]]*)\])?(?:\s*\\label\{([^}]*)\})?(.*?)\\end\{\1\}",
    re.S,
)
_FLOAT = re.compile(r"\\begin\{(figure|table)\}.*?\\label\{([^}]*)\}.*?\\end\{\1\}", re.S)
_MATH = re.compile(r"(\$[^$]*\$|\\begin\{(?:align|equation)\*\}.*?\\end\{(?:align|equation)\*\})", re.S)
_ITEMS = re.compile(r"\\begin\{(enumerate|itemize)\}(?:\\setlength\{\\\w+\}\{\w+\})*(.*?)\\end\{\1\}", re.S)

#: commands of text, in the order in which they are replaced
_TEXT = (
    (r"\\emph\{([^}]*)\}", r"*\1*"),
    (r"\\paragraph\{([^}]*)\}", r"**\1**"),
    (r"\\cite([pt])\{([^}]*)\}", r"{cite:\1}`\2`"),
    (r"(?:Theorem|Proposition|Corollary)~\\ref\{(\w+):([\w-]+)\}", r"{prf:ref}`\1-\2`"),
    (r"~", "\u00a0"),
    (r"---?", "–"),
)


def page() -> str:
    """The page, as Markdown.

    Raises:
        SystemExit: the LaTeX has a command in its text that is not known here.
    """
    text = expanded()
    floats = _floats(text)
    parts = []
    for section in text.split(r"\section{")[1:]:
        title, _, body = section.partition("}")
        body = _FLOAT.sub("", body)
        label = re.match(r"\s*\\label\{([^}]*)\}", body)
        found = [_stated(*match.groups()) for match in _STATED.finditer(body)]
        if label and label[1] == SETTING:
            found = [_prose(body[label.end() :], floats)]
        if found:
            anchor = f"({_name(label[1])})=\n" if label else ""
            parts.append("\n\n".join([f"{anchor}## {title}", *found]))
    return HEAD + "\n\n".join(parts) + "\n"


def expanded() -> str:
    """The write-up's text, with its own commands replaced by what these stand for."""
    generated = sorted((PAPER / "generated").glob("*.tex"))
    text = re.sub(r"(?<!\\)%.*", "", (PAPER / "paper.tex").read_text(encoding="utf-8"))
    known = {}
    for source in (text, *(file.read_text(encoding="utf-8") for file in generated)):
        for kind, name, body in _MACRO.findall(source):
            known[name] = f"{{{body}}}" if kind == "newcommand" else rf"\operatorname{{{body}}}"
    pattern = re.compile(rf"\\({'|'.join(known)})(?![A-Za-z])")
    return pattern.sub(lambda match: known[match[1]], text.partition(r"\begin{document}")[2])


def _floats(text: str) -> dict[str, str]:
    """Figures and tables by label: a link to the write-up, with the number that it has there."""
    found, counts = {}, {"figure": 0, "table": 0}
    for kind, label in _FLOAT.findall(text):
        counts[kind] += 1
        name = f"{kind.title()} {counts[kind]} of the write-up"
        found[label] = f"[{name}](papers/norm-placement/paper.pdf)"
    return found


def _stated(kind: str, title: str | None, label: str | None, body: str) -> str:
    """A theorem or a proof, as a directive."""
    lines = [f"````{{prf:{kind}}} {title or ''}".rstrip()]
    if label:
        lines.append(f":label: {_name(label)}")
    return "\n".join([*lines, "", _prose(body), "````"])


def _prose(text: str, floats: dict[str, str] | None = None) -> str:
    """LaTeX of paragraphs, formulas and lists as Markdown."""
    for label, link in (floats or {}).items():
        text = re.sub(rf"(?:Figure|Table)~\\ref\{{{label}\}}", lambda _, link=link: link, text)
    text = re.sub(r"Section~\\ref\{([^}]*)\}", lambda match: f"{{ref}}`{_name(match[1])}`", text)
    text = _ITEMS.sub(_list, text)
    parts = _MATH.split(text)
    for at in range(0, len(parts), 2):
        for pattern, new in _TEXT:
            parts[at] = re.sub(pattern, new, parts[at])
        unknown = re.search(r"\\[A-Za-z]+", parts[at])
        if unknown:
            raise SystemExit(f"docs/site/theorems.py does not know the command {unknown[0]} of paper.tex")
        parts[at] = "\n\n".join(re.sub(r"\s+", " ", one) for one in re.split(r"\n\s*\n", parts[at]))
    for at in range(1, len(parts), 2):
        display = parts[at].startswith("\\")
        parts[at] = f"\n\n{parts[at]}\n\n" if display else " ".join(parts[at].split())
    return re.sub(r"\n\s*\n\s*", "\n\n", "".join(parts)).strip()


def _list(match: re.Match[str]) -> str:
    items = [" ".join(item.split()) for item in match[2].split(r"\item")[1:]]
    return "\n\n" + "\n\n".join(f"1. {item}" for item in items) + "\n\n"


def _name(label: str) -> str:
    """A label of LaTeX as one of Sphinx."""
    return label.replace(":", "-")
