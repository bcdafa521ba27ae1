"""The page of published models, written from the registry: ``python -m spannorm_theory.models.page FILE``."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..base.files import write_file
from ..spec.architecture import Architecture
from .model import Model
from .registry import GRADES, Published, published

#: a length that fills every window of the registry
TOKENS = 16384

COLUMNS = ("model", "year", "placement", "rule, std, q₀", "norms", "attention", "feed-forward", "more")

#: numbers of more digits than a table shows
_DIGITS = re.compile(r"\d+\.\d{5,}")

#: the fields that the columns are about
_SHOWN = """placement scaling depth width heads tokens activation ffn_ratio ffn_width mask norm qk_norm
    qk_norm_over kv_heads positions window init input_variance experts top_k shared_experts gates"""
SHOWN = frozenset(_SHOWN.split())

HEAD = """# Published models

Which norm placement, scaling rule and sizes {count} published models have at initialisation, read from their
configurations. `spannorm model NAME`, or `st.model("NAME")`, gives one to everything else that the toolkit
does.

A configuration says what a library builds from it, not how a laboratory trained. Matrices are drawn with one
standard deviation (`std`) unless a rule says otherwise; *q₀* is the second moment of what the first block
reads; *norms* are LayerNorm or RMSNorm; *12 × 768* are blocks and width. Windows and patterns are for texts
that fill them, here {tokens:,} tokens. Numbers have four digits, and all of them in `spannorm model NAME`.
`spannorm list` has the placements and rules;
[limitations.md](limitations.md) says what no architecture has.
"""

TAIL = """## Of this page

`python -m spannorm_theory.models.page docs/models.md` writes it from the registry; a test holds it to that.
"""


def page() -> str:
    """The page, as Markdown."""
    entries = list(published().values())
    found = [entry.read(TOKENS) for entry in entries]
    lines = [HEAD.format(count=len(entries), tokens=TOKENS)]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [_row(entry, each) for entry, each in zip(entries, found, strict=True)]
    lines += ["", "## What is not modelled", "", *_gaps(found), "", "## Sources", "", *_sources(entries)]
    return "\n".join([*lines, TAIL])


def _row(entry: Published, found: Model) -> str:
    arch = found.arch
    cells = [
        entry.name,
        str(entry.year),
        arch.placement,
        f"{arch.scaling}, {arch.init}, {arch.input_variance:.3g}",
        _norms(arch),
        _attention(arch),
        _feedforward(arch),
        _more(found),
    ]
    return _DIGITS.sub(lambda number: f"{float(number[0]):.4g}", f"| {' | '.join(cells)} |")


def _norms(arch: Architecture) -> str:
    over = " and on q, k over the width" if arch.qk_norm_over == "width" else " and on q, k"
    return arch.norm + (over if arch.qk_norm else "")


def _attention(arch: Architecture) -> str:
    words = [f"{arch.heads} heads" + (f", {arch.kv_heads} of keys" if arch.kv_heads else "")]
    words += [arch.positions] if arch.positions != "none" else []
    words += [f"window {arch.window}"] if arch.window else []
    words += ["no mask"] if arch.mask == "none" else []
    return f"{arch.depth} × {arch.width}; {', '.join(words)}"


def _feedforward(arch: Architecture) -> str:
    text = f"{arch.activation} × {arch.hidden / arch.width:.3g}"
    if arch.experts > 1:
        text += f"; {arch.top_k} of {arch.experts} experts ({arch.gates})"
        text += f" and {arch.shared_experts} shared" if arch.shared_experts else ""
    return text


def _more(found: Model) -> str:
    """The fields that no other column is about."""
    return ", ".join(f"{name}={value}" for name, value in found.said.items() if name not in SHOWN)


def _gaps(found: list[Model]) -> Iterator[str]:
    """A line for each gap, with the models that have it."""
    shared = Counter(gap for model in found for gap in model.gaps)
    often = {gap for gap, times in shared.items() if times > 1}
    for gap in sorted(often, key=lambda gap: (-shared[gap], gap.feature, gap.effect)):
        names = ", ".join(model.name for model in found if gap in model.gaps)
        yield f"- {gap.feature} ({names}): {gap.effect}."
    for model in found:
        for gap in model.gaps:
            if gap not in often:
                yield f"- {model.name}: {gap.feature}: {gap.effect}."


def _sources(entries: list[Published]) -> Iterator[str]:
    for grade, meaning in GRADES.items():
        yield f"*{grade}*: {meaning}."
        yield ""
        for entry in entries:
            if entry.grade == grade:
                where = entry.source.replace("arXiv:", "https://arxiv.org/abs/")
                yield f"- {entry.name}: <{where}>"
        yield ""


if __name__ == "__main__":
    write_file(Path(sys.argv[1]), page())
