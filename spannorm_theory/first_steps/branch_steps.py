"""Steps of one branch's matrices, and what its output moves by (T17.5 to T17.9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.attention_gram import SampledAttention
from ..layers.feedforward import FeedForward
from ..layers.matrix_grams import Reads
from ..moments.sampled_tokens import SampledTokens
from .branch_changes import Change, behind, own, through_heads, through_units
from .hidden_units import HiddenUnits, UnitSteps, back_step, front_step
from .matrix_steps import MatrixStep, matrix_step
from .optimisers import Optimiser


@dataclass(frozen=True)
class BranchSteps:
    """One branch in one block.

    Attributes:
        rule: the optimiser.
        rates: learning rates by matrix.
        tokens: what its Grams are of.
        component, gains: of the branch.
        layer: the block.
        gram: Gram of its input.
        grad: Gram of the gradient at its output.
        reads: Grams of its matrices.
        squared: E |G|_F^2 by matrix.
    """

    rule: Optimiser
    rates: Mapping[str, float]
    tokens: SampledTokens
    component: SampledAttention | FeedForward
    gains: Mapping[str, float]
    layer: int
    gram: Array
    grad: Array
    reads: Reads
    squared: Mapping[str, float]

    @cached_property
    def grads(self) -> dict[str, Array]:
        """Gradient Gram at each matrix's output, per coordinate of the matrix, in agreement with |G|_F^2."""
        found = {}
        for name, x in self.reads.items():
            inputs, outputs = self._shape(name)
            plain = inputs * outputs * self._batch * float((x.read * x.grad).sum())
            found[name] = x.grad * (self.squared[name] / plain if plain > 0 else 0.0)
        return found

    def _shape(self, name: str) -> tuple[int, int]:
        return self.tokens.arch.weights[name]

    @property
    def _batch(self) -> int:
        return self.tokens.arch.batch

    @cached_property
    def units(self) -> HiddenUnits:
        """Hidden units of a feed-forward branch."""
        assert isinstance(self.component, FeedForward)
        seed = 1 + self.layer + self.tokens.arch.depth * self.tokens.seed[1]
        return HiddenUnits.draw(self.component, self.gram, self.gains, seed)

    @cached_property
    def _behind_units(self) -> Array:
        """Gradient Gram at the hidden units."""
        inputs, outputs = self._shape("ffn.down")
        return np.asarray(self.gains["ffn.down"] * outputs / inputs * self.grad)

    @cached_property
    def fronts(self) -> dict[str, UnitSteps]:
        """Steps of the matrices in front of hidden units."""
        return {
            name: front_step(
                self.rule,
                self._shape(name),
                self.reads[name].read,
                self._behind_units,
                slopes,
                self._batch,
                self.squared[name],
            )
            for name, slopes in self.units.slopes.items()
        }

    @cached_property
    def steps(self) -> dict[str, MatrixStep]:
        """The step of each matrix."""
        if isinstance(self.component, FeedForward):
            name = "ffn.down"
            found = {front: step.mean for front, step in self.fronts.items()}
            read, rows = self.reads[name].read, self.units.rows
            found[name] = back_step(
                self.rule, self._shape(name), rows, read, self.grads[name], self._batch, self.squared[name]
            )
            return found
        return {
            name: matrix_step(
                self.rule, self._shape(name), x.read, self.grads[name], self._batch, self.squared[name]
            )
            for name, x in self.reads.items()
        }

    def slope(self, name: str) -> float:
        """<G, U(G)> of a matrix."""
        step, grad = self.steps[name], self.grads[name]
        kernel = step.linear
        if isinstance(self.component, FeedForward) and name in self.fronts:
            front, d = self.fronts[name], self.units.slopes[name]
            both = np.einsum("us,ut,u->st", d, d, front.factors) / len(d)
            grad = self._behind_units * both
        return step.outputs * self._batch * float((kernel * grad).sum())

    def change(self, entering: Array, total: Array) -> Change:
        """What the branch's output moves by, for K of its input and T there."""
        if isinstance(self.component, FeedForward):
            return self._ffn(entering, total)
        return self._attention(self.component, entering, total)

    def _at(self, name: str, entering: Array, total: Array) -> Change:
        """The change behind a matrix that reads the branch's input."""
        came = Change(entering, total)
        return behind(self.gains[name], came, total, self._own(name))

    def _own(self, name: str) -> Change:
        return own(self.steps[name], self.grads[name], self.rates[name])

    def _ffn(self, entering: Array, total: Array) -> Change:
        came = {
            name: Change(self.gains[name] * entering, self.gains[name] * total) for name in self.units.slopes
        }
        parts = self._behind_units, came, self.fronts, self.grads, self.rates
        hidden, second = through_units(self.units, *parts)
        return behind(self.gains["ffn.down"], hidden, second, self._own("ffn.down"))

    def _attention(self, component: SampledAttention, entering: Array, total: Array) -> Change:
        names = ("query", "key", "value")
        changes = {name: self._at(f"attn.{name}", entering, total) for name in names}
        totals = {name: x.total(self.grads[f"attn.{name}"]) for name, x in changes.items()}
        grad = self.gains["attn.output"] * self.grad
        heads, second = through_heads(
            component, self.gram, self.gains, self.tokens(self.layer), changes, totals, grad
        )
        return behind(self.gains["attn.output"], heads, second, self._own("attn.output"))
