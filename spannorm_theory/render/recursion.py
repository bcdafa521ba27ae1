r"""``derive``: the recursion of a placement under a scaling rule, with everything that a user reads of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sympy import Eq, Expr

from ..asymptotics.growth import Growth
from ..asymptotics.laws import laws
from ..base import arguments
from ..base.formulas import words
from ..base.registry import Results
from ..base.symbols import latex
from ..bounds.closed_forms import closed_bounds
from ..derivation.iteration import Iteration
from ..derivation.recurrence import Recurrence
from ..gaussian.activations import ACTIVATIONS
from ..spec.arguments import placement as named
from . import mathml
from .equations import equations, readout, stages
from .recursion_latex import as_latex, once


def derive(placement: str, scaling: str = "unit", *, activation: str | None = None) -> Recursion:
    """Derive the recursion of a placement under a scaling rule from its definition.

    Source: docs/theory.md, sections 3, 4, 8, 11 and 12.

    Args:
        placement: a registered name, with options in brackets if it has any.
        scaling: a registered scaling rule.
        activation: None keeps all four branch gains sigma_a^2, sigma_f^2, omega_a^2, omega_f^2 as
            symbols; a registered activation fills in those of the feed-forward branch at fan-in
            initialisation.

    Returns:
        a :class:`Recursion`; ``print`` shows all of it, and a notebook its equations.

    Raises:
        UnknownNameError: a name that is not registered.
        InputError: the rule does not belong to this placement, or something else than names was given.

    Example:
        >>> import spannorm_theory as st
        >>> recursion = st.derive("post-norm")
        >>> recursion.closed_form()["q"]
        1
        >>> print(recursion.asymptotics()["gradient_ratio"])
        Theta(((omega_a^2 + 1)*(omega_f^2 + 1)/((sigma_a^2 + 1)*(sigma_f^2 + 1)))**L), constant 1/q_0
    """
    return Recursion.of(named(placement), scaling, activation=activation)


@dataclass(frozen=True)
class Recursion(Recurrence):
    """The moment recursions of one block, and what follows from them in the wide limit.

    Assumes: width to infinity at fixed depth; zero-mean independent weights; each branch's gains
    constant over layers (degree one in its input where the input is not normed).

    Attributes:
        placement, scaling, activation: as of :func:`derive`.
        name, options: of the placement, options by default included.
        early: whether its blocks are the early ones, of a placement that tells them apart.

    Example:
        >>> import spannorm_theory as st
        >>> closed = st.derive("pre-norm").closed_form()
        >>> closed["q"], closed.start
        (l*sigma_a^2 + l*sigma_f^2 + q_0, 0)
    """

    def iterate(
        self,
        depth: int,
        *,
        sigma_a2: float,
        sigma_f2: float,
        omega_a2: float,
        omega_f2: float,
        q0: float = 1.0,
        gamma_out: float = 1.0,
    ) -> pd.DataFrame:
        """The recursion iterated with constant gains, at any depth.

        Source: docs/theory.md, section 8.

        Args:
            depth: L, number of blocks.
            sigma_a2, sigma_f2, omega_a2, omega_f2: branch gains (second moments, per coordinate).
            q0: second moment of the embedding.
            gamma_out: second moment of the loss gradient at the model's output.

        Returns:
            a row for each layer, stream and quantity.

        Columns:
            layer: 0 to L.
            stream: "0", "1", ...; "01" for the cross moment of streams 0 and 1.
            quantity: variance, grad_variance, or identity_gain, the amplitude of the skip path from that
                layer to L.
            value: the number.
            log_value: its natural logarithm, finite where ``value`` under- or overflows.

        Raises:
            InputError: a depth or a moment that is not positive, or a gain that is negative.
            AssumptionError: a moment left float64's range.

        Example:
            >>> import spannorm_theory as st
            >>> table = st.derive("pre-norm").iterate(3, sigma_a2=1, sigma_f2=1, omega_a2=1, omega_f2=1)
            >>> table.query("quantity == 'variance'")["value"].round(9).tolist()
            [1.0, 3.0, 5.0, 7.0]
        """
        depth = arguments.whole("depth", depth, 1)
        gains = {"sigma_a2": sigma_a2, "sigma_f2": sigma_f2, "omega_a2": omega_a2, "omega_f2": omega_f2}
        a, f, alpha, phi = (arguments.number(name, value, zero=True) for name, value in gains.items())
        q0, gamma_out = arguments.number("q0", q0), arguments.number("gamma_out", gamma_out)
        return Iteration(self).run(depth, (a, f, alpha, phi), q0).table(gamma_out)

    def bounds(self) -> dict[str, tuple[Expr, Expr]]:
        """Lower and upper closed forms for attention gains anywhere in [0, sigma_a^2], [0, omega_a^2].

        Token correlations move attention's gains from layer to layer; here sigma_a^2 and omega_a^2 stand for
        their largest values. Valid because every block is monotone in each of these gains, which is
        checked: a quantity for which the check does not decide is left out. Numeric bounds for an
        architecture, with its own gains: :func:`spannorm_theory.bounds.intervals.bounds`.

        Source: docs/theory.md, section 11.

        Returns:
            by name, as ``closed_form`` has them (``q``, ``gradient_ratio``), the lower and the upper bound as
            sympy expressions in l, L and the gains.

        Example:
            >>> import spannorm_theory as st
            >>> st.derive("pre-norm").bounds()["q"]
            (l*sigma_f^2 + q_0, l*sigma_a^2 + l*sigma_f^2 + q_0)
        """
        return closed_bounds(self)

    def asymptotics(self) -> Results[Growth | str]:
        """Large-depth law of each quantity; a sentence where none could be derived.

        Source: docs/theory.md, section 12.

        Returns:
            by name, a law (:class:`~spannorm_theory.asymptotics.growth.Growth`) or the reason why there is
            none: ``q``, or ``q_00``, ``q_01``, ... of several streams, moments at l = L;
            ``gradient_at_embedding``, for a unit gradient at the model's output; ``gradient_ratio``,
            gamma_0/gamma_L of one stream; ``balanced_gradient``, the gradient at the embedding where omega =
            sigma in every branch; ``collapse``, (1 - rho_L)/(1 - rho_0) near rho = 1; ``identity_gain``. Of
            several streams ``collapse_0`` and ``identity_gain_0`` are those of stream 0.

        Raises:
            UnknownNameError: no such quantity, when the mapping is asked for it.

        Example:
            >>> import spannorm_theory as st
            >>> print(st.derive("pre-norm").asymptotics()["q"])
            Theta(L), constant sigma_a^2 + sigma_f^2
        """
        return Results("law", laws(self))

    def to_dict(self) -> dict[str, Any]:
        """Equations, closed forms, laws and bounds as strings that sympy can read.

        Returns:
            ``placement``, ``scaling``, ``activation``; ``gains_by`` ("symbols", "closed form" or
            "quadrature"); ``forward`` and ``backward``, equations from the moment after a block to its
            expression; ``closed_form``, and ``no_closed_form`` with reasons; ``valid_from_layer``;
            ``large_depth`` (laws or reasons); ``bounds``, pairs of expressions.

        Example:
            >>> import spannorm_theory as st
            >>> st.derive("pre-norm").to_dict()["forward"]
            {"q'": 'q + sigma_a^2 + sigma_f^2'}
        """
        forward, backward = equations(self)
        closed = self.closed_form()
        return {
            "placement": self.placement,
            "scaling": self.scaling,
            "activation": self.activation,
            "gains_by": ACTIVATIONS[self.activation].kernel.method if self.activation else "symbols",
            "forward": {str(e.lhs): str(e.rhs) for e in forward},
            "backward": {str(e.lhs): str(e.rhs) for e in backward},
            "closed_form": {name: str(value) for name, value in closed.found.items()},
            "no_closed_form": closed.missing,
            "valid_from_layer": int(closed.start) if closed.start.is_Integer else str(closed.start),
            "large_depth": {name: str(law) for name, law in self.asymptotics().items()},
            "bounds": {name: [str(low), str(high)] for name, (low, high) in self.bounds().items()},
        }

    def __str__(self) -> str:
        """:meth:`text`."""
        return self.text()

    def text(self) -> str:
        """All that is derived, as plain text.

        Returns:
            lines: definition, recursion, closed forms, laws, bounds.

        Example:
            >>> import spannorm_theory as st
            >>> st.derive("pre-norm").text().splitlines()[1]
            'block: x0 + attention(norm(x0)) + ffn(norm(x0 + attention(norm(x0))))'
        """
        return as_text(self)

    def latex(self) -> str:
        r"""All that is derived, as LaTeX: the recursion of every kind of block and of the readout, closed
        forms and laws, and what the letters in them mean.

        Returns:
            paragraphs with ``align*`` environments, for a document with amsmath.

        Example:
            >>> import spannorm_theory as st
            >>> st.derive("pre-norm").latex().splitlines()[3]
            '\\begin{align*}'
        """
        return as_latex(self, self.asymptotics())

    def _repr_latex_(self) -> str:
        rows = []
        for stage in stages(self):
            rows.append(rf"&\text{{{stage.blocks}:}}")
            rows += [rf"{latex(e.lhs)} &= {latex(e.rhs)}" for e in (*stage.forward, *stage.backward)]
        body = r" \\ ".join(rows)
        return rf"$\displaystyle \begin{{aligned}} {body} \end{{aligned}}$"

    def _repr_html_(self) -> str:
        """MathML, which is read without a network, where LaTeX needs MathJax."""
        parts = []
        for stage in stages(self):
            lines = (mathml.inline_equation(e) for e in (*stage.forward, *stage.backward))
            parts.append(f"<p>{stage.blocks}:</p>" + "".join(f"<p>{line}</p>" for line in lines))
        return "".join(parts)


def as_text(recursion: Recursion) -> str:
    """Definition, recursion, closed forms, laws and identity gain as plain text."""
    closed = recursion.closed_form()
    lines = [f"{recursion.placement}, scaling {recursion.scaling}", f"block: {recursion.block.trace}"]
    if str(recursion.first.trace) != str(recursion.block.trace):
        lines.append(f"first block: {recursion.first.trace}")
    lines.append(f"readout: {recursion.readout.trace}")
    if recursion.activation is not None:
        method = ACTIVATIONS[recursion.activation].kernel.method
        lines.append(f"feed-forward gains of {recursion.activation} at fan-in initialisation, by {method}")
    if any(branch.std for branch in recursion.block.trace.branches):
        lines.append("standard deviations that the rule states are taken with a hidden layer of 4d")
    for i, stage in enumerate(stages(recursion)):
        prime = "" if i else " (a prime marks the moment after it)"
        lines += ["", f"forward, {stage.blocks}{prime}:", *map(_line, stage.forward)]
        lines += ["", f"backward, {stage.blocks}:", *map(_line, stage.backward)]
    lines += ["", "behind the last block, for a gradient of 1 at the model's output:"]
    lines += map(_line, readout(recursion))
    since = f" (from layer {closed.start} on)" if closed.start else ""
    lines += ["", f"closed forms{since}:"]
    lines += [f"  {words(name)} = {value}" for name, value in closed.found.items()]
    lines += [f"  {words(name)}: none; {reason}" for name, reason in closed.missing.items()]
    lines += ["", "large depth:"]
    lines += [
        f"  {' = '.join(words(name, 'L') for name in names)}: {law}"
        for names, law in once(recursion.asymptotics())
    ]
    bounds = recursion.bounds()
    if bounds:
        lines += ["", "bounds, for attention gains anywhere in [0, sigma_a^2] and [0, omega_a^2]:"]
        lines += [
            f"  {words(name)} = {low}, always" if low == high else f"  {low} <= {words(name)} <= {high}"
            for name, (low, high) in bounds.items()
        ]
    lines += ["", "The identity gain is that of the skip path alone, not a prediction of the gradient."]
    lines += _gamma_functions(lines)
    return re.sub(r"\bgamma\(", "Gamma(", "\n".join(lines))


def _line(e: Eq) -> str:
    return f"  {e.lhs} = {e.rhs}"


def _gamma_functions(lines: Sequence[str]) -> list[str]:
    """A line that tells the Gamma function from the gradient's moment, where there is one."""
    if not any(re.search(r"\bgamma\(", line) for line in lines):
        return []
    return ["Gamma(x) is the Gamma function, gamma the second moment of the loss gradient."]
