"""The tables of the write-up as LaTeX, from the library's laws and from Monte Carlo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from measured import ACTIVATIONS, JUDGED, ffn_gains
from sympy import Expr, Pow, Rational, exp, factor, simplify
from sympy.printing.latex import LatexPrinter

import spannorm_theory as st
from spannorm_theory.asymptotics.eigenvalue import named
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.base import symbols
from spannorm_theory.gaussian.activations import ACTIVATIONS as REGISTERED
from spannorm_theory.spec.placements import PLACEMENTS

#: the rows of the atlas: placements without scaling, and those that come with a rule of their own or are
#: compared under one
UNSCALED = (
    "pre-norm", "parallel-pre", "ln-scaling", "peri-ln", "post-norm", "parallel-post", "admin", "hybrid-norm",
    "span-norm", "residual", "siamese-norm",
)  # fmt: skip
SCALED = (
    ("pre-norm", "depth-scaled-init"),
    ("post-norm", "depth-scaled-init"),
    ("span-norm", "depth-scaled-init"),
    ("hybrid-norm", "gpt2"),
    ("deepnorm", "deepnorm-init"),
    ("keel", "keel"),
)
#: the atlas' short names of the gains
SHORT = {
    symbols.sigma_a2: "a", symbols.sigma_f2: "f", symbols.omega_a2: r"\hat a", symbols.omega_f2: r"\hat f",
}  # fmt: skip
NONE = r"---"
#: numbers from here on have a power of ten
WHOLE = 1e4
HALF = Rational(1, 2)


class _Ordered(LatexPrinter):
    """Sums with positive terms first, constants before gains, and gains in the order of ``SHORT``."""

    def _as_ordered_terms(self, expr: Expr, order: str | None = None) -> list[Expr]:
        gains = list(SHORT)

        def place(term: Expr) -> tuple[bool, list[int], str]:
            found = sorted(gains.index(s) for s in term.free_symbols if s in gains)
            return term.could_extract_minus_sign(), found, str(term)

        return sorted(expr.args, key=place)


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, in LaTeX; whole up to ten thousand."""
    rounded = float(f"{value:.{digits}g}")
    if 10**digits <= rounded < WHOLE:
        return f"{rounded:.0f}"
    text = f"{value:#.{digits}g}".rstrip(".")
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}"


def tabular(columns: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A booktabs table; a row with one cell is a heading across all columns."""
    lines = [
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        if len(row) == 1:
            lines += [*([r"\midrule"] if lines[-1] != r"\midrule" else []), row[0] + r" \\"]
        else:
            lines.append(" & ".join(row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def activations() -> str:
    """Gains of the feed-forward branch at unit input."""
    rows = []
    for name in ACTIVATIONS:
        sigma, omega = ffn_gains(name)
        rows.append((REGISTERED[name].title, *(f"${x:.4f}$" for x in (sigma, omega, omega / sigma))))
    return tabular(
        "lccc", ("activation", r"$\sigma_f^2$", r"$\omega_f^2$", r"$s=\omega_f^2/\sigma_f^2$"), rows
    )


def atlas() -> str:
    """Large-depth laws of many placements, with and without a rule that scales with depth."""
    head = ("placement", r"$q_L$", r"$\gamma_0$", r"$(1-\rho_L)/(1-\rho_0)$", "identity gain")
    rows: list[tuple[str, ...]] = [(r"\multicolumn{5}{@{}l}{\emph{no scaling}}",)]
    rows += [(PLACEMENTS[name].title, *_laws(name, "unit")) for name in UNSCALED]
    rows.append((r"\multicolumn{5}{@{}l}{\emph{scaled with depth}}",))
    for name, rule in SCALED:
        rows.append((f"{PLACEMENTS[name].title} [{_rule(rule)}]", *_laws(name, rule)))
    return tabular("lllll", head, rows)


def _rule(name: str) -> str:
    return {"depth-scaled-init": "DSI", "gpt2": "GPT-2", "deepnorm-init": "own", "keel": "own"}[name]


def _laws(placement: str, rule: str) -> list[str]:
    found = st.derive(placement, rule).asymptotics()
    streams = sorted(
        {name.removeprefix("identity_gain").strip("_") for name in found if name.startswith("identity")}
    )
    moments = [f"q_{s}{s}" if s else "q" for s in streams]
    gains = [f"identity_gain_{s}".strip("_") for s in streams]
    one = [found["gradient_at_embedding"], found.get("collapse")]
    return [_cell(found[m] for m in moments), _cell(one[:1]), _cell(one[1:]), _cell(found[g] for g in gains)]


def _cell(laws: Iterable[Growth | str | None]) -> str:
    return "; ".join(_law(law) if isinstance(law, Growth) else NONE for law in laws)


def _law(law: Growth) -> str:
    """The shape of a law, or its limit where it tends to one (for an embedding of second moment 1); p is the
    largest eigenvalue of a matrix."""
    L, (shape, _) = symbols.depth, named(law.shape)
    if shape == 1:
        return f"${_short(law.prefactor.subs(symbols.initial_variance, 1))}$"
    if isinstance(shape, Pow) and shape.exp == L and any(p.exp == -HALF for p in shape.base.atoms(Pow)):
        shape = Pow(simplify(shape.base**-2), -L * HALF)  # one root of all
    return f"${_short(shape)}$"


def _short(expression: Expr) -> str:
    expression = expression.replace(lambda e: isinstance(e, exp), lambda e: exp(factor(e.args[0])))
    names = {s: SHORT.get(s, symbols.latex_name(s)) for s in expression.free_symbols}
    text = str(_Ordered({"symbol_names": names, "ln_notation": True}).doprint(expression))
    for old, new in ((r"\ln{\left(L \right)}^", r"(\ln L)^"), (r"\ln{\left(L \right)}", r"\ln L")):
        text = text.replace(old, new)
    return text.replace(r"\frac", r"\tfrac")


def accuracy(verifications: Sequence[st.Verification]) -> str:
    """Root mean square relative deviation from the theory over layers, cosines absolute, and the largest
    share of its gate that any layer uses."""
    names = {"variance": "$q$", "token_cosine": r"$\rho$", "grad_variance": r"$\gamma$"}
    names |= {"grad_token_cosine": "$r$", "weight_grad_norm": r"$\|\partial_W\|^2$"}
    rows = []
    for found in verifications:
        table = found.table[found.table["quantity"].isin(JUDGED)]
        table = table[~table["verdict"].isin(["rare", "not predicted"])]
        cells = [f"{100 * deviation(table, quantity):.1f}" for quantity in JUDGED]
        arch = found.arch
        rows.append(
            (
                PLACEMENTS[arch.placement].title,
                _scaling(arch.scaling),
                str(arch.depth),
                *cells,
                f"{100 * table['gate'].max():.0f}",
                "yes" if found.passed else "no",
            )
        )
    return tabular("llcccccccc", ("placement", "rule", "$L$", *names.values(), "gate", "passed"), rows)


def deviation(table: pd.DataFrame, quantity: str) -> float:
    """Root mean square over the layers of one verification, relative for squared norms."""
    rows = table[table["quantity"] == quantity]
    off = rows["estimate"] - rows["theory"]
    if "cosine" not in quantity:
        off = rows["relative_error"]
    return float(np.sqrt(np.mean(np.square(off))))


def _scaling(rule: str) -> str:
    return {"unit": "none", "depth-scaled-init": "DSI"}[rule]


#: rows of the hard regime at its own sizes
HARD = {f"logit variance {v}": f"$v={v}$" for v in (1, 4, 16)} | {"causal": "causal mask"}


def hard(table: pd.DataFrame) -> str:
    """Theories over Monte Carlo in the hard regime, and at other widths."""
    rows = []
    for row in table.to_dict("records"):
        case, _, other = str(row["case"]).partition(", ")
        if other.endswith("heads"):
            continue
        name = f"{HARD[case]}, {other}" if other else HARD[case]
        cells = [_ratio(row[t], row[f"{t}_se"]) for t in ("pair", "sampled", "published")]
        rows.append((name, *cells))
    return tabular("lccc", ("", "pair theory", "sampled heads", "uniform, values only"), rows)


def _ratio(value: float, error: float) -> str:
    digits = 4 if error < 0.001 else 3
    return rf"${value:.{digits}f} \pm {error:.{digits}f}$" if np.isfinite(value) else NONE


def widths(table: pd.DataFrame) -> str:
    """The width study."""
    rows: list[tuple[str, ...]] = []
    for placement, of_it in table.groupby("placement", sort=False):
        rows.append((rf"\multicolumn{{6}}{{@{{}}l}}{{\emph{{{PLACEMENTS[str(placement)].title}}}}}",))
        rows += [
            (
                f"{row['width']:.0f}",
                f"${row['share']:.3f}$",
                rf"${row['mean']:.2f} \pm {row['mean_se']:.2f}$",
                rf"${row['geometric']:.2f} \pm {row['geometric_se']:.2f}$",
                rf"${row['sd']:.2f} \pm {row['sd_se']:.2f}$",
                rf"${row['predicted_sd']:.2f}$",
            )
            for row in of_it.to_dict("records")
        ]
    head = ("width", "$L/d$", "mean", "geometric mean", r"sd of $\ln\gamma_0$", "predicted")
    return tabular("cccccc", head, rows)


def causal(verifications: Sequence[st.Verification]) -> str:
    """Averages over positions of causal stacks, theory over Monte Carlo."""
    rows = []
    for found in verifications:
        arch = found.arch
        table = found.table[found.table["stream"] == "0"].set_index(["quantity", "layer"])
        cells = []
        for quantity, layer in (("variance", arch.depth), ("grad_variance", 0)):
            row = table.loc[(quantity, layer)]
            value = row["theory"] / row["estimate"]
            cells.append(_ratio(value, value * row["se"] / row["estimate"]))
        row = table.loc[("token_cosine", arch.depth)]
        cells += [f"${row['theory']:.3f}$", rf"${row['estimate']:.3f} \pm {row['se']:.3f}$"]
        rows.append((PLACEMENTS[arch.placement].title, *cells))
    head = ("", "$q_L$, ratio", r"$\gamma_0$, ratio", r"$\rho_L$, theory", r"$\rho_L$, Monte Carlo")
    return tabular("lcccc", head, rows)


def models(table: pd.DataFrame) -> str:
    """Published models at their own initialisation."""
    rows = [
        (
            str(row["model"]),
            PLACEMENTS[str(row["placement"])].title,
            f"{row['depth']}",
            f"{row['width']}",
            *(f"${number(float(row[name]), 2)}$" for name in ("first", "last", "gradient")),
            f"${number(float(row['first'] * row['gradient']), 2)}$",
            f"${row['cosine']:.2f}$",
        )
        for row in table.to_dict("records")
    ]
    moments = ("$q_0$", "$q_L$", r"$\gamma_0$", r"$\gamma_0q_0$", r"$\rho_L$")
    return tabular("llccccccc", ("model", "placement", "$L$", "$d$", *moments), rows)
