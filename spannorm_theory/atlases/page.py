"""The atlas as one page: a table that sorts and filters, without any outside resource."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from importlib import resources
from math import exp, isnan, log

from ..asymptotics.growth import Growth
from ..asymptotics.laws import COLLAPSE
from ..render import mathml
from ..render.html import document, paragraph, power_of_ten, tag
from ..spec.architecture import Architecture, parse_placement
from ..spec.placements import PLACEMENTS
from ..spec.scaling import SCALINGS
from .branch_gains import ends
from .check import DEPTHS, LADDER, VALUES
from .known import CHECK_GAINS
from .records import LATER, OK, SHOWN, Cell, Found, Share
from .trend import Trend
from .verdict import regime, verdict

TITLE = "Atlas of norm placements and scaling rules"

#: laws whose text is longer are given by their numbers
LONGEST = 90

#: the column that is left out where nothing was simulated
_MONTE_CARLO = 11


def page(cells: Sequence[Cell], depths: Sequence[int], summary: str) -> str:
    """The whole document.

    Args:
        depths: of the cells' shares.
        summary: how many cells there are, and how their checks came out.
    """
    package = resources.files(__package__)
    body = [
        tag("h1", escape(TITLE)),
        paragraph(summary[0].upper() + summary[1:] + ".", class_="lead"),
        _explanation(cells[0].arch, depths),
        _failures(cells),
        '<p><input id="filter" type="search" placeholder="filter rows, e.g. span-norm or explodes" '
        'aria-label="filter rows"> <span id="count" class="note"></span></p>',
        _table(cells, depths),
    ]
    css, script = (package.joinpath(name).read_text("utf-8") for name in ("atlas.css", "atlas.js"))
    return document(TITLE, body, css=css, script=script, kind="atlas")


def _explanation(arch: Architecture, depths: Sequence[int]) -> str:
    (sa, sf, wa, wf), independent = ends(arch)
    first, last = depths[0], depths[-1]
    gains = ", ".join(f"{g:g}" for g in CHECK_GAINS)
    texts = [
        "Laws in the number of blocks L, for constant branch gains; below each, its numbers for "
        f"{arch.activation} branches at {arch.init} initialisation and aligned tokens: "
        f"σₐ² = {sa:.3g}, σ_f² = {sf:.3g}, ωₐ² = {wa:.3g}, ω_f² = {wf:.3g} (at independent tokens, "
        f"n = {arch.tokens}: σₐ² = {independent[0]:.3g}, ωₐ² = {independent[2]:.3g}). Placements with norms "
        "inside a branch have gains of their own, and where a branch's input shrinks or grows with depth the "
        "gains are those at its size in deep blocks. Of several streams, the one that grows most. The "
        "gradient is that at the embedding for a unit gradient at the model's output.",
        f"Third line: the quantity itself at {', '.join(map(str, VALUES[:-1]))} and {VALUES[-1]} blocks, by "
        f"the pair theory for n = {arch.tokens} tokens of cosine {arch.input_cosine:g} at the input, and the "
        f"depth (of {', '.join(map(str, LADDER))}) from which on the law's shape is within 10 % of it, with "
        "the constant fitted at the deepest: first blocks, whose tokens are apart, decide that.",
        f"Check: the law at gains {gains} against the block's step iterated to L = {DEPTHS[-1]}; "
        "“later” marks laws that set in beyond it. What has ≈ was fitted to that iteration: no law was "
        "derived (its tooltip says why). Update and cosines come from the pair theory, which follows the "
        "tokens' correlation from layer to layer: the second moment that the last block adds, over its "
        f"input's, and the cosine of the stream's input and output, at L = {first} and {last}. Bounds, of "
        "the forward moment at l = L and of the gradient at the embedding for a unit gradient at the model's "
        f"output, hold for every token correlation, at L = {first}.",
        "Click a heading to sort; laws sort by their value at the deepest check.",
    ]
    return "".join(paragraph(text, class_="note") for text in texts)


def _failures(cells: Sequence[Cell]) -> str:
    items = []
    for cell in cells:
        if not cell.failed:
            continue
        details = [f"{name}: {f.detail}" for name, f in cell.found.items() if f.status == "FAIL"]
        reasons = [*details, *([cell.monte_carlo] if "FAIL" in cell.monte_carlo else []), cell.problem]
        items.append(tag("li", escape(f"{cell.arch}: {'; '.join(filter(None, reasons))}")))
    return tag("div", tag("p", "Failed:") + tag("ul", "".join(items)), class_="failed") if items else ""


def _table(cells: Sequence[Cell], depths: Sequence[int]) -> str:
    first, last = depths[0], depths[-1]
    names = {"forward": "q at l=L", "gradient": "gamma at l=0", "collapse": COLLAPSE}
    maths = {name: f"<math>{mathml.quantity(key)}</math>" for name, key in names.items()}
    head = [
        "Placement",
        "Scaling rule",
        f"Forward {maths['forward']}",
        f"Gradient {maths['gradient']}",
        f"Tokens {maths['collapse']}",
        "Identity gain",
        f"Update, L = {last}",
        f"Cosine, L = {first}",
        f"Cosine, L = {last}",
        f"Bounds, L = {first}",
        "Check",
        "Monte Carlo",
        "In words",
    ]
    sampled = any(cell.monte_carlo for cell in cells)
    if not sampled:
        del head[_MONTE_CARLO]
    columns = "".join(f'<th tabindex="0">{text}</th>' for text in head)
    rows = "\n".join(_row(i, cell, first, last, sampled) for i, cell in enumerate(cells))
    return tag(
        "div", f"<table><thead><tr>{columns}</tr></thead><tbody>\n{rows}\n</tbody></table>", class_="all"
    )


def _row(index: int, cell: Cell, first: int, last: int, sampled: bool) -> str:
    name, _ = parse_placement(cell.arch.placement)
    title = PLACEMENTS[name].title
    rule = SCALINGS[cell.arch.scaling]
    empty: Mapping[int, Share] = {}
    shares = cell.shares or empty
    cells = [
        _cell(escape(cell.arch.placement), index, title),
        _cell(escape(cell.arch.scaling), cell.arch.scaling, rule.title),
        *(_law(cell.found.get(quantity)) for quantity in SHOWN),
        _share(shares.get(last), "update"),
        _share(shares.get(first), "cosine"),
        _share(shares.get(last), "cosine"),
        _cell(_bounds(cell), cell.limits.get("gradient", (0.0, -1.0))[1], ""),
        _cell(_status(cell.checked), cell.checked, cell.problem),
        _cell(_status(cell.monte_carlo), cell.monte_carlo, ""),
        _cell(raised(verdict(cell)) + _caveats(cell), verdict(cell), ""),
    ]
    if not sampled:
        del cells[_MONTE_CARLO]
    return tag("tr", "".join(cells))


def _caveats(cell: Cell) -> str:
    return tag("small", escape("; ".join(cell.caveats))) if cell.caveats else ""


def raised(text: str) -> str:
    """Words with exponents, such as e^(0.2 L^0.5) or L^-1, as markup."""

    def power(match: re.Match[str]) -> str:
        exponent = raised(match[1] or match[2]).replace("-", "−")
        return tag("sup", exponent)

    nested = r"(?:[^()]|\([^()]*\))*"
    return re.sub(rf"\^(?:\(({nested})\)|(-?[\d.]*\d))", power, escape(text))


def _cell(inner: str, key: object, title: str) -> str:
    note = f' title="{escape(title)}"' if title else ""
    return f'<td data-key="{escape(str(key))}"{note}>{inner}</td>'


def _share(share: Share | None, name: str) -> str:
    if share is None:
        return _cell("–", -1, "")
    value = getattr(share, name)
    inner = power_of_ten(log(value)) if value > 0 else f"{value:.2g}"
    return f'<td class="n" data-key="{value:.6g}">{inner}</td>'


def _status(text: str) -> str:
    kind = "good" if text.startswith(OK) else "bad" if text.startswith("FAIL") else "note"
    return tag("span", escape(text) or "", class_=kind)


def _law(found: Found | None) -> str:
    if found is None or found.trend is None:
        return _cell("–", -1e308, found.reason if found else "")
    key = f"{found.trend.log_at(DEPTHS[-1]):.6g}"
    if found.law is None:
        fitted = f'<span class="fit">≈ {numbers(found.trend)}</span>{_values(found)}'
        return _cell(fitted, key, f"no law: {found.reason}")
    formula = _theta(found.law)
    below = tag("small", numbers(found.trend) + (" (later)" if found.late else "")) + _values(found)
    colour = {"exponential": "far", "power": "some", "log": "some"}.get(regime(found), "")
    kind = f' class="{colour}"' if colour else ""
    note = f"at independent tokens: {found.independent}" if found.independent else ""
    if found.status in (LATER, "FAIL"):
        note = found.detail
    return f'<td{kind} data-key="{key}" title="{escape(note)}">{formula}{below}</td>'


def _values(found: Found) -> str:
    """The iterated values, and the depth from which the law holds."""
    if not found.at:
        return ""
    values = ", ".join(power_of_ten(found.at[depth]) if depth in found.at else "–" for depth in VALUES)
    since = "not to 10 %" if found.since is None else f"from L = {found.since}"
    return tag("small", f"{values}; {since}")


@lru_cache(maxsize=4096)
def _theta(law: Growth) -> str:

    if len(str(law.shape)) > LONGEST:
        return '<span class="note">long formula</span>'
    return mathml.theta(law)


def numbers(trend: Trend) -> str:
    """A trend as markup."""
    parts = []
    if not isnan(trend.constant) and f"{trend.constant:.3g}" != "1":
        parts.append(
            power_of_ten(log(trend.constant)) if 0 < trend.constant < exp(700) else f"{trend.constant}"
        )
    if trend.factorial:
        parts.append(f"e<sup>{_short(trend.factorial)} L ln L</sup>")
    for rate, exponent in trend.exponentials:
        root = "" if exponent == 1 else f"<sup>{exponent:.2g}</sup>"
        parts.append(f"e<sup>{_short(rate)} L{root}</sup>")
    if trend.power:
        parts.append("L" if trend.power == 1 else f"L<sup>{_short(trend.power)}</sup>")
    if trend.log_power:
        parts.append("ln L" if trend.log_power == 1 else f"(ln L)<sup>{_short(trend.log_power)}</sup>")
    return " ".join(parts) or ("constant" if isnan(trend.constant) else "1")


def _short(x: float) -> str:
    mantissa, _, exponent = f"{x:.3g}".partition("e")
    return (f"{mantissa}·10^{int(exponent)}" if exponent else mantissa).replace("-", "−")


def _bounds(cell: Cell) -> str:
    parts = []
    for name, symbol in (("forward", "q"), ("gradient", "γ₀")):
        if name in cell.limits:
            low, high = (power_of_ten(x) for x in cell.limits[name])
            parts.append(f"{symbol}: {low if low == high else f'{low} to {high}'}")
    return "<br>".join(parts) or "–"
