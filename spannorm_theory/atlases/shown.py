"""A law as pages show it: its numbers, its values at four depths, and its formula."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, isnan, log

from markupsafe import Markup

from ..asymptotics.growth import Growth
from ..render import mathml
from ..render.html import power_of_ten
from .check import DEPTHS, VALUES
from .records import LATER, Found
from .trend import Trend
from .verdict import regime

#: laws whose text is longer are opened by a click
LONGEST = 90

DASH, NOTHING = Markup("–"), Markup("")


@dataclass(frozen=True)
class Shown:
    """A law as pages show it.

    Attributes:
        numbers: the law at the architecture's own gains.
        values: the quantity at :data:`.check.VALUES` blocks; empty where it was not iterated.
        since: the depth from which on the law holds.
        formula: the law in symbols, without its constant; empty where none was derived.
        long: whether it opens by a click.
        key: ln of the law at the deepest check; empty where there is none.
        kind: "far" for an exponential, "some" for a power or logarithm, "fit" where it was fitted.
        note: what else there is to say.
    """

    numbers: Markup = DASH
    values: tuple[Markup, ...] = ()
    since: str = ""
    formula: Markup = NOTHING
    long: bool = False
    key: float | str = ""
    kind: str = ""
    note: str = ""


def shown(found: Found | None) -> Shown:
    """A law for a page."""
    if found is None or found.trend is None:
        return Shown(note=found.reason if found else "")
    values = tuple(power_of_ten(found.at[d]) if d in found.at else Markup("–") for d in VALUES if found.at)
    since = "" if not values else "not to 10 %" if found.since is None else f"from L = {found.since}"
    key = float(f"{found.trend.log_at(DEPTHS[-1]):.6g}")
    if found.law is None:
        fitted = Markup("≈ ") + numbers(found.trend)
        return Shown(fitted, values, since, key=key, kind="fit", note=f"no law: {found.reason}")
    note = f"at independent tokens: {found.independent}" if found.independent else ""
    if found.status in (LATER, "FAIL"):
        note = found.detail
    return Shown(
        numbers(found.trend) + (" (later)" if found.late else ""),
        values,
        since,
        _order(found.law),
        len(str(found.law.shape)) > LONGEST,
        key,
        {"exponential": "far", "power": "some", "log": "some"}.get(regime(found), ""),
        note,
    )


@lru_cache(maxsize=4096)
def _order(law: Growth) -> Markup:
    return mathml.theta(law)


def numbers(trend: Trend) -> Markup:
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
    return Markup(" ".join(parts) or ("constant" if isnan(trend.constant) else "1"))


def _short(x: float) -> str:
    mantissa, _, exponent = f"{x:.3g}".partition("e")
    return (f"{mantissa}·10^{int(exponent)}" if exponent else mantissa).replace("-", "−")
