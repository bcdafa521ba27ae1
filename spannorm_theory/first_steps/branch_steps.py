"""Steps of one branch's matrices, and what its output moves by (T13.2 to T13.8)."""

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
from ..prediction.profiles import LARGEST_EXCESS
from .branch_changes import Change, behind, own, through_units
from .head_samples import PROJECTIONS, HeadSamples
from .head_steps import HeadStep, head_step
from .hidden_units import HiddenUnits, back_step, front_step
from .matrix_steps import MatrixStep, matrix_step
from .optimisers import Optimiser
from .sized_steps import SizedStep

#: branches' last matrices
LAST = "ffn.down", "attn.output"


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
        excess, answer: V - 1/d of its input, and eta^2 V of what its last matrix reads.
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
    excess: float
    answer: float

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

    def _excess(self, name: str) -> float:
        """What V of a matrix's input has beyond the sampling of its coordinates and beyond the heads that are
        drawn, as far as that is of leading order."""
        found = self.answer if name in LAST else max(self.excess, 0.0)
        return min(found, LARGEST_EXCESS / self.tokens.arch.tokens)

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
    def heads(self) -> HeadSamples:
        """Heads of an attention branch."""
        assert isinstance(self.component, SampledAttention)
        seed = (*self.tokens.seed, self.layer, 2)
        return HeadSamples(
            self.component,
            self.gains,
            self.gram,
            self.tokens(self.layer),
            self.tokens.arch.heads,
            np.random.default_rng(seed),
            self.gains["attn.output"] / self.component.breadth * self.grad,
        )

    @cached_property
    def fronts(self) -> dict[str, SizedStep]:
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
                self._excess(name),
            )
            for name, slopes in self.units.slopes.items()
        }

    @cached_property
    def projections(self) -> dict[str, HeadStep]:
        """Steps of queries, keys and values."""
        random = np.random.default_rng((*self.tokens.seed, self.layer, 3))
        return {
            f"attn.{name}": head_step(
                self.rule,
                self._shape(f"attn.{name}"),
                self.reads[f"attn.{name}"].read,
                self.grads[f"attn.{name}"],
                gradients,
                self.tokens.arch.heads,
                self._batch,
                self.squared[f"attn.{name}"],
                self._excess(f"attn.{name}"),
                random,
            )
            for name, gradients in self.heads.gradients.items()
        }

    @cached_property
    def steps(self) -> dict[str, MatrixStep]:
        """The step of each matrix."""
        feedforward = isinstance(self.component, FeedForward)
        fronts: Mapping[str, SizedStep | HeadStep] = self.fronts if feedforward else self.projections
        found = {name: front.mean for name, front in fronts.items()}
        last = LAST[not feedforward]
        parts = self.reads[last].read, self.grads[last], self._batch, self.squared[last], self._excess(last)
        if feedforward:
            found[last] = back_step(self.rule, self._shape(last), self.units, *parts)
        else:
            found[last] = matrix_step(self.rule, self._shape(last), *parts)
        return found

    def slope(self, name: str) -> float:
        """<G, U(G)> of a matrix."""
        if isinstance(self.component, SampledAttention) and name in self.projections:
            return self.projections[name].slope
        step, grad = self.steps[name], self.grads[name]
        if isinstance(self.component, FeedForward) and name in self.fronts:
            front, d = self.fronts[name], self.units.slopes[name]
            grad = self._behind_units * (np.einsum("us,ut,u->st", d, d, front.slopes) / len(d))
        return step.outputs * self._batch * float((step.linear * grad).sum())

    def change(self, entering: Array, total: Array) -> Change:
        """What the branch's output moves by, for K of its input and T there."""
        if isinstance(self.component, FeedForward):
            return self._ffn(entering, total)
        return self._attention(entering, total)

    def _own(self, name: str) -> Change:
        return own(self.steps[name], self.grads[name], self.rates[name])

    def _ffn(self, entering: Array, total: Array) -> Change:
        came = {
            name: Change(self.gains[name] * entering, self.gains[name] * total) for name in self.units.slopes
        }
        parts = self._behind_units, came, self.fronts, self.grads, self.rates
        hidden, second = through_units(self.units, *parts)
        return behind(self.gains["ffn.down"], hidden, second, self._own("ffn.down"))

    def _attention(self, entering: Array, total: Array) -> Change:
        came = {
            name: Change(gain * entering, gain * total)
            for name in PROJECTIONS
            for gain in [self.gains[f"attn.{name}"]]
        }
        steps = {name: self.projections[f"attn.{name}"] for name in PROJECTIONS}
        rates = {name: self.rates[f"attn.{name}"] for name in PROJECTIONS}
        heads, second = self.heads.change(came, steps, rates)
        return behind(self.gains["attn.output"], heads, second, self._own("attn.output"))
