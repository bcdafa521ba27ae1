"""Read architectures, and the tables of predictions, simulations and verifications, as curves over depth.

Ordinates of quantities that live on a log axis are natural logarithms from here on, so that values
beyond float64's range are drawn like any others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..base import arguments
from ..base.arguments import Result
from ..base.errors import InputError, UnknownNameError
from ..base.quantities import INPUT, OUTPUT, QUANTITIES
from ..prediction.predict import predict
from ..spec.architecture import Architecture
from ..spec.arguments import architecture

Array = NDArray[np.float64]

#: an architecture or its text form, which is predicted; or a table of predict, simulate, verify or sweep, or
#: their result
Drawn = Architecture | str | pd.DataFrame | Result

#: what figures are drawn from
Tables = Drawn | Iterable[Drawn]

SOURCES = "an architecture, or what predict, simulate, verify or sweep return, or their tables"

#: probability with which an error bar holds the mean over all networks
INTERVAL = 0.95

#: least end of an error bar on a log axis, as a share of its value, where the interval holds zero
LEAST_END = 0.05

#: what can tell two curves of one quantity apart
KEYS = ("placement", "scaling", "depth", "width", "tokens", "stream")


@dataclass(frozen=True)
class View:
    """The quantity of an axis: itself, or one minus it."""

    quantity: str
    logarithmic: bool
    label: str
    complement: bool = False


def view(name: str) -> View:
    """The view called ``name``: a quantity's name, or "rank_collapse" for 1 - token cosine.

    Raises:
        InputError: no such quantity.
    """
    name = arguments.choice("quantity", name, [*QUANTITIES, "rank_collapse"])
    if name == "rank_collapse":
        return View("token_cosine", True, r"distance from rank one $1-\rho$", complement=True)
    quantity = QUANTITIES[name]
    return View(name, quantity.logarithmic or name == "branch_share", f"{quantity.label} ${quantity.latex}$")


def listed(tables: Tables) -> list[Drawn]:
    """What is drawn, as a list; one stands for a list of one.

    Raises:
        InputError: no list of such things, or an empty one.
    """
    one = isinstance(tables, (pd.DataFrame, str)) or not isinstance(tables, Iterable)
    parts: list[Any] = [tables] if one else arguments.items("tables", tables, SOURCES)
    if not parts:
        raise InputError("there is no table to draw; pass an architecture, or what predict or verify return")
    return parts


@dataclass(frozen=True)
class Curve:
    """One quantity of one architecture over its layers; NaN where a table has no value.

    Attributes:
        theory, estimate: ordinates.
        lower, upper: ends of the interval that holds the mean over all networks with probability
            ``INTERVAL``: Student's, of the logarithm for squared norms, which are log-normal over networks.
        low, high: bounds.
    """

    placement: str
    scaling: str
    depth: int
    width: int
    tokens: int
    stream: str
    layer: Array
    theory: Array
    estimate: Array
    lower: Array
    upper: Array
    low: Array
    high: Array

    @property
    def best(self) -> Array:
        """The theory where there is one, else the estimate."""
        return np.where(np.isfinite(self.theory), self.theory, self.estimate)

    @property
    def stop(self) -> int | None:
        """Index of the last layer that the theory predicts, where it declines those above."""
        known = np.flatnonzero(~np.isnan(self.theory))
        return int(known[-1]) if len(known) and known[-1] < len(self.theory) - 1 else None


def join(tables: Tables) -> pd.DataFrame:
    """One table in the form of a verification's, from anything that figures are drawn from.

    Raises:
        InputError: there is nothing, or something else is among it.
        AssumptionError: an architecture that the theory does not cover.
    """
    return pd.concat([_unified(_table(part)) for part in listed(tables)], ignore_index=True)


def _table(part: Drawn) -> pd.DataFrame:
    if isinstance(part, (Architecture, str)):
        return predict(architecture(part))
    columns = (*KEYS, "layer", "quantity")
    return arguments.table("the table of a figure", part, columns, f"one of {SOURCES}")


def _unified(table: pd.DataFrame) -> pd.DataFrame:
    """Columns log_theory, theory, log_estimate, estimate, relative_se, se, low, high beside the keys."""
    out = table[[*KEYS, "layer", *(["position"] if "position" in table else []), "quantity"]].copy()
    missing = pd.Series(np.nan, index=table.index)
    out["networks"] = table.get("networks", 0)
    if "estimate" in table:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            shift = np.log1p(table["relative_error"])
            spread = (shift / table["z"]).abs()
            logs = table["log_theory"] + shift
            ratio = table["se"] / table["estimate"].abs()
        # where the estimate itself under- or overflows, its logarithm follows from the theory's
        inside = np.isfinite(table["estimate"]) & (table["estimate"].abs() > 1e-300)
        with np.errstate(divide="ignore", invalid="ignore"):
            direct = np.log(table["estimate"].where(table["estimate"] > 0))
        out["theory"], out["log_theory"] = table["theory"], table["log_theory"]
        out["estimate"], out["se"] = table["estimate"], table["se"]
        out["log_estimate"] = direct.where(inside, logs)
        out["relative_se"] = ratio.where(inside, spread)
        out["low"], out["high"] = table["low"], table["high"]
        # a mean carried by events that the ensemble may have missed is no measurement of it
        out.loc[table["verdict"] == "rare", ["estimate", "log_estimate"]] = np.nan
    elif "networks" in table:
        out["theory"] = out["log_theory"] = out["low"] = out["high"] = missing
        out["estimate"], out["log_estimate"] = table["value"], table["log_value"]
        out["se"], out["relative_se"] = table["se"], table["relative_se"]
    else:
        out["theory"], out["log_theory"] = table["value"], table["log_value"]
        for name in ("estimate", "log_estimate", "se", "relative_se", "low", "high"):
            out[name] = missing
    return out


def curves(table: pd.DataFrame, what: View, stream: str) -> list[Curve]:
    """The curves of a joined table, in its order; ``stream`` "all" takes every stream.

    Raises:
        InputError: the table has no such rows, or is one by position.
    """
    if "position" in table:
        raise InputError("a table by position has no one value for a layer; draw it with position_profile")
    stream = arguments.stream(stream)
    rows = table[table["quantity"] == what.quantity]
    # the gradient at the embedding, and what is of the output, have one layer and are no curve beside others
    ends = rows["stream"].isin([INPUT[0], OUTPUT])
    rows = rows[~ends] if stream == "all" else rows[rows["stream"] == stream]
    if rows.empty:
        streams = sorted(set(table.loc[table["quantity"] == what.quantity, "stream"]))
        if streams:
            raise UnknownNameError(f"stream of {what.quantity}", stream, [*streams, "all"])
        there = ", ".join(sorted(set(table["quantity"]))) or "nothing"
        raise InputError(f"the table has no {what.quantity}; it has {there}")
    found = []
    for key, group in rows.groupby(list(KEYS), sort=False):
        require_one(group, f"{what.quantity} of {key[0]}")
        group = _by_layer(group)
        placement, scaling, depth, width, tokens, name = map(str, key)
        ordinates = _logarithmic(group, what) if what.logarithmic else _plain(group)
        layer = group["layer"].to_numpy(dtype=float)
        sizes = int(depth), int(width), int(tokens)
        found.append(Curve(placement, scaling, *sizes, name, layer, *ordinates))
    return found


def _by_layer(group: pd.DataFrame) -> pd.DataFrame:
    """One row for each layer, with theory and estimate of whatever tables have them."""
    layers = group.groupby("layer", sort=True)
    return layers.first().assign(networks=layers["networks"].max()).reset_index()


def require_one(group: pd.DataFrame, what: str, by: str = "layer") -> None:
    """Refuse several theories, or several estimates, of one layer, or of one of another column.

    Raises:
        InputError: there are several.
    """
    for column in ("theory", "estimate"):
        known = group.loc[group[column].notna(), [by, column]].drop_duplicates()
        if known[by].duplicated().any():
            raise InputError(
                f"the tables hold several {what} that differ in a field which figures do not tell apart "
                f"(they know {', '.join(KEYS)}); draw them in figures of their own"
            )


def _column(group: pd.DataFrame, name: str) -> Array:
    return group[name].to_numpy(dtype=float)


def _plain(group: pd.DataFrame) -> tuple[Array, ...]:
    theory, estimate = _column(group, "theory"), _column(group, "estimate")
    half = _half(group, "se")
    return theory, estimate, estimate - half, estimate + half, _column(group, "low"), _column(group, "high")


def _half(group: pd.DataFrame, error: str) -> Array:
    return interval(group[error], group["networks"])


def interval(errors: pd.Series, networks: pd.Series) -> Array:
    """Half of the interval that holds a mean with probability ``INTERVAL``: Student's quantile times the
    standard error; NaN of fewer than two networks."""
    return np.asarray(quantile(networks.to_numpy(dtype=float)) * errors.to_numpy(dtype=float))


def quantile(networks: Array | float) -> Array:
    """Standard errors in that half, of a mean over so many networks."""
    degrees = np.asarray(networks, dtype=float) - 1
    return np.asarray(stdtrit(np.where(degrees > 0, degrees, np.nan), (1 + INTERVAL) / 2))


def _logarithmic(group: pd.DataFrame, what: View) -> tuple[Array, ...]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if what.complement or not QUANTITIES[what.quantity].logarithmic:  # no log-normal: a plain interval
            theory, value = (_shown(_column(group, name), what) for name in ("theory", "estimate"))
            half = _half(group, "se")
            ends = np.maximum(value - half, LEAST_END * value), value + half
            theory, estimate, lower, upper = (np.log(x) for x in (theory, value, *ends))
        else:
            theory, estimate = _column(group, "log_theory"), _column(group, "log_estimate")
            half = _half(group, "relative_se")
            lower, upper = estimate - half, estimate + half
        if what.complement:
            low = high = np.full_like(theory, np.nan)
        else:
            low, high = np.log(_column(group, "low")), np.log(_column(group, "high"))
        return theory, estimate, lower, upper, low, high


def _shown(values: Array, what: View) -> Array:
    """Values, or one minus them, where that is more than rounding; else NaN."""
    shown = 1 - values if what.complement else values
    return np.where(shown > 1e-14, shown, np.nan)
