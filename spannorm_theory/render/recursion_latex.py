r"""A recursion as LaTeX: equations of every kind of block, closed forms, laws, and what the letters mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sympy import Eq, Expr, Symbol
from sympy.core.function import AppliedUndef

from ..asymptotics.growth import Growth
from ..base.formulas import BALANCED, COLLAPSE, EMBEDDING, IDENTITY, RATIO, split
from ..base.letters import LETTERS
from ..base.symbols import latex
from ..derivation.recurrence import Recurrence
from .equations import readout, stages
from .latex_lines import LINE, rows, width

#: what is written of a formula whose name is no letter, and what it means
NAMED = {
    EMBEDDING: (r"\gamma_0", r"$\gamma$ at the embedding, for 1 at the model's output"),
    RATIO: (r"\gamma_0/\gamma_L", r"$\gamma$ at the embedding over that behind the last block"),
    BALANCED: (
        r"\gamma_0\big|_{\omega=\sigma}",
        r"$\gamma_0$ where each branch's backward gain is its forward gain",
    ),
    COLLAPSE: (
        r"(1-\rho_L)/(1-\rho_0)",
        r"what is left of the distance of two tokens near alignment, $\rho$ their cosine",
    ),
    IDENTITY: (
        r"I",
        "identity gain: what skips and norms alone do to a signal's size, all branches left out",
    ),
}

#: width in ems up to which all names of a law stand in one line
NAMES = 10.0

#: meaning of the letters of a recursion in steps
STEPS = (
    "$n_k$: second moment of what a norm reads; $u$, $b$: of what a branch reads and puts out; $G$, $T$: of "
    "the gradient at its output and at its input; indices a, f: attention, feed-forward branch"
)

#: meaning of the moments of a function that has no closed form
FUNCTIONS = (
    r"$M_\varphi(q)$, $S_\varphi(q)$: second moments of $\varphi(u)$ and $\varphi'(u)$, "
    r"$u \sim N(0, q)$"
)


def as_latex(recursion: Recurrence, found: Mapping[str, Growth | str]) -> str:
    """Paragraphs, each with an ``align*`` environment, and what letters mean; ``found`` are the laws."""
    closed = recursion.closed_form()
    kinds, last = stages(recursion), readout(recursion)
    parts = [f"% {recursion.placement}, scaling {recursion.scaling}; needs amsmath", r"\allowdisplaybreaks"]
    for stage in kinds:
        parts.append(_paragraph(stage.blocks, _equations((*stage.forward, *stage.backward))))
    parts.append(_paragraph("Behind the last block, for a gradient of 1 at the output", _equations(last)))
    if closed.found:
        since = rf" from $l={latex(closed.start)}$ on" if closed.start else ""
        known = [(f"{_quantity(name)} &=", latex(value)) for name, value in closed.found.items()]
        parts.append(_paragraph(f"In closed form{since}", known))
    laws = [(names, law) for names, law in once(found) if isinstance(law, Growth)]
    if laws:
        deep: list[tuple[str, str]] = []
        for names, law in laws:
            written = [_quantity(name, "L") for name in names]
            if width(" = ".join(written)) <= NAMES:
                written = [" = ".join(written)]
            deep += [(f"{name} &=", "") for name in written[:-1]]
            deep.append((rf"{written[-1]} &\sim", law.latex()))
        parts.append(_paragraph("At large depth", deep))
    every = [e for stage in kinds for e in (*stage.forward, *stage.backward)] + last
    formulas = [side for e in every for side in (e.lhs, e.rhs)] + [*closed.found.values()]
    formulas += [x for _, law in laws for x in (law.shape, law.prefactor)]
    shown = [*closed.found, *(name for names, _ in laws for name in names)]
    parts.append(_where(formulas, shown, len(recursion.block.trace.streams) > 1))
    return "\n".join(parts)


def once(laws: Mapping[str, Growth | str]) -> list[tuple[list[str], Growth | str]]:
    """Each law with the names of all of one kind, such as the streams' collapse, that it is the law of;
    reasons why there is none stay apart."""
    found: list[tuple[list[str], Growth | str]] = []
    for name, law in laws.items():
        alike = (names for names, other in found if other == law and _kind(names[0]) == _kind(name))
        names = next(alike, None) if isinstance(law, Growth) else None
        if names is None:
            found.append(([name], law))
        else:
            names.append(name)
    return found


def _kind(name: str) -> str:
    stem = split(name)[0]
    return EMBEDDING if stem == RATIO else stem


def _paragraph(title: str, equations: Sequence[tuple[str, str]]) -> str:
    room = LINE - max(width(left) for left, _ in equations)
    lines = [line for left, right in equations for line in rows(left, right, room)]
    body = " \\\\\n".join(f"  {line.rstrip()}" for line in lines)
    return f"\\noindent {title[0].upper()}{title[1:]}:\n\\begin{{align*}}\n{body}\n\\end{{align*}}"


def _equations(found: Iterable[Eq]) -> list[tuple[str, str]]:
    return [(f"{latex(e.lhs)} &=", latex(e.rhs)) for e in found]


def _where(formulas: Sequence[Expr], names: Sequence[str], staged: bool) -> str:
    """One sentence with the meaning of each letter, and of each name, that occurs."""
    written = {symbol.name.replace("'", "") for formula in formulas for symbol in formula.free_symbols}
    found = written | {name.partition("_")[0] for name in written}  # q of q_01, the moment of two streams
    letters = (letter for group in LETTERS.values() for letter in group)
    named = [x for x in letters if isinstance(x.written, Symbol) and x.written.name in found]
    meanings = [f"${letter.latex}$: {letter.meaning}" for letter in named]
    stems = dict.fromkeys(split(name)[0] for name in names)
    meanings += [f"${NAMED[stem][0]}$: {NAMED[stem][1]}" for stem in stems if stem in NAMED]
    meanings += [STEPS] if staged else []
    meanings += [FUNCTIONS] if any(f.atoms(AppliedUndef) for f in formulas) else []
    return (
        rf"\noindent {'; '.join(meanings)}. A prime marks a moment behind the block, an index the layer or "
        "the streams; the first block reads the embedding."
    )


def _quantity(name: str, at: str = "l") -> str:
    """A formula's name in LaTeX."""
    stem, index = split(name)
    if stem in NAMED:
        return NAMED[stem][0] + (rf"\text{{ of stream {index}}}" if index else "")
    return rf"{stem}_{{{index + ',' if index else ''}{at}}}"
