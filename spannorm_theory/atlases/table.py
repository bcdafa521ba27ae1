"""The atlas as a data frame, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..asymptotics.growth import Growth
from .check import VALUES
from .learning_rates import RULES
from .records import QUANTITIES, SHOWN, Cell, Found
from .verdict import verdict


def frame(cells: Sequence[Cell], depths: Sequence[int]) -> pd.DataFrame:
    """One row for each cell.

    Returns:
        columns placement, scaling, stream (which forward, collapse and shares speak of); for each of forward,
        gradient (at the embedding, for a unit gradient at the model's output), collapse, identity and ratio
        (gamma_0/gamma_L, of one stream): X_law (symbols, without its constant), X_constant, X_origin
        ("derived", "iterated"), X (its numbers at aligned tokens, as text), X_independent; X_factorial,
        X_rate, X_root, X_power, X_log_power, X_prefactor (ln f = factorial L ln L + rate L^root
        + power ln L + log_power ln ln L + ln prefactor, at aligned tokens); X_at_12, 48, 200 and 1000 (ln of
        the iterated quantity at these depths), X_from (the depth from which on its shape holds to 10 %);
        X_reason (why there is no law), X_check; update_L, cosine_L, token_cosine_L for each depth;
        forward_low, forward_high, gradient_low, gradient_high (bounds at the first depth, as natural
        logarithms); checked, monte_carlo, verdict, caveats (where a stated limit of the theory applies),
        problem.
    """
    return pd.DataFrame([_row(cell, depths) for cell in cells])


def _row(cell: Cell, depths: Sequence[int]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "placement": cell.arch.placement,
        "scaling": cell.arch.scaling,
        "stream": cell.stream,
    }
    for name in QUANTITIES:
        row.update({name + key: value for key, value in _law(cell.found.get(name)).items()})
    for depth in depths:
        share = cell.shares.get(depth)
        for key in ("update", "cosine", "token_cosine"):
            row[f"{key}_{depth}"] = np.nan if share is None else getattr(share, key)
    for name in ("forward", "gradient"):
        low, high = cell.limits.get(name, (np.nan, np.nan))
        row |= {f"{name}_low": low, f"{name}_high": high}
    for rule in RULES:
        trend = cell.rates.trends.get(rule)
        row[f"{rule}_rate_power"] = np.nan if trend is None else trend.power
        row[f"{rule}_rate_exponential"] = np.nan if trend is None else trend.rate
    return row | {
        "rate_reason": cell.rates.reason,
        "checked": cell.checked,
        "monte_carlo": cell.monte_carlo,
        "verdict": verdict(cell),
        "caveats": "; ".join(cell.caveats),
        "problem": cell.problem,
    }


def _law(found: Found | None) -> Mapping[str, Any]:
    trend = None if found is None else found.trend
    derived = found is not None and isinstance(found.law, Growth)
    numbers = ("factorial", "rate", "root", "power", "log_power", "constant")
    iterated: Mapping[int, float] = {} if found is None else found.at
    return {
        "_law": found.order if found else "",
        "_constant": str(found.law.prefactor) if found and found.law else "",
        "_origin": "derived" if derived else "iterated" if trend else "",
        "": str(trend) if trend else "",
        "_independent": str(found.independent) if found and found.independent else "",
        **{
            "_" + ("prefactor" if key == "constant" else key): getattr(trend, key) if trend else np.nan
            for key in numbers
        },
        **{f"_at_{depth}": iterated.get(depth, np.nan) for depth in VALUES},
        "_from": np.nan if found is None or found.since is None else found.since,
        "_reason": found.reason if found else "",
        "_check": f"{found.status}: {found.detail}".removesuffix(": ") if found else "",
    }


def console(cells: Sequence[Cell], depths: Sequence[int]) -> str:
    """Placement, rule, the four laws in numbers, share and cosine at the deepest stack, check, verdict."""
    table = frame(cells, depths)
    last = max(depths)
    head = ["placement", "scaling", "forward", "gradient", "1-rho", "identity", f"update {last}"]
    head += [f"cos {last}", "checked", "verdict"]
    rows = [head]
    for row in table.to_dict("records"):
        laws = [_with_depth(row, name) for name in SHOWN]
        shares = [_number(row[f"{key}_{last}"]) for key in ("update", "cosine")]
        rows.append([row["placement"], row["scaling"], *laws, *shares, row["checked"], row["verdict"]])
    widths = [max(len(r[i]) for r in rows) for i in range(len(head) - 1)]
    lines = [
        "  ".join([*(c.ljust(w) for c, w in zip(r, widths, strict=False)), r[-1]]).rstrip() for r in rows
    ]
    return "\n".join(lines)


def _with_depth(row: Mapping[Hashable, Any], name: str) -> str:
    """A law's numbers, marked where it was fitted, and the depth from which it holds where that is late."""
    mark = "~" if row[f"{name}_origin"] == "iterated" else ""
    since = row[f"{name}_from"]
    return f"{mark}{row[name]}" + (f" (L >= {since:.0f})" if since > VALUES[0] else "")


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2g}"
