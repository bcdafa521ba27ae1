r"""The first step in theory: what every matrix, branch and stream moves by (section 13).

One run of the theory with sampled heads (:mod:`spannorm_theory.prediction.gram_run`) has the Grams on both
sides of every matrix. Steps of matrices follow (:mod:`.matrix_steps`, :mod:`.hidden_units`), and changes are
passed from block to block (:mod:`.block_changes`). The decrease of the loss by all matrices below a stream is
the inner product of its gradient with its change, exactly; the coherent part is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from ..base.errors import AssumptionError
from ..base.quantities import Key
from ..gaussian.closed_forms import Array
from ..layers.attention_gram import SampledAttention
from ..layers.feedforward import FeedForward
from ..moments.sampled_tokens import SampledTokens
from ..moments.token_gram import Block
from ..prediction.boundary import input_gram
from ..prediction.gram_run import GramRun
from ..prediction.prediction import Prediction
from ..prediction.room import require_predictable
from ..prediction.runs import average
from ..spec.architecture import Architecture
from ..spec.graph import SUBLAYERS, Branch
from .block_changes import BlockChanges, StreamChanges
from .branch_changes import Change
from .branch_steps import BranchSteps
from .optimisers import Optimiser
from .reach import passes_changes, require_derived

#: runs whose mean is the prediction, and heads that each draws in a layer
RUNS, HEADS = 8, 8


def predicted(arch: Architecture, rule: Optimiser, rates: Mapping[str, float]) -> Prediction:
    """Profiles of the first step.

    Args:
        rates: learning rate of each matrix of ``arch.weights``.

    Raises:
        AssumptionError: the architecture has what no step is derived for.
        InputError: it does not fit into memory.
    """
    require_derived(arch, rule)
    require_predictable(arch, "sampled")
    draws = [SampledTokens((0, i), HEADS, arch) for i in range(RUNS)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda tokens: _StepRun(tokens, rule, rates).profiles, draws))
    profiles, errors = average(runs, np.zeros(RUNS))
    return Prediction(arch, profiles, "sampled", np.full(arch.depth, np.inf), errors)


class _StepRun:
    """One run: ``profiles`` of the step."""

    def __init__(self, tokens: SampledTokens, rule: Optimiser, rates: Mapping[str, float]) -> None:
        self._tokens, self._rule, self._rates = tokens, rule, rates
        self._arch = arch = tokens.arch
        with np.errstate(over="ignore", invalid="ignore"):
            self._run = GramRun(tokens, input_gram(tokens), 1 / arch.width)
        self.profiles: dict[Key, Array] = {}
        self._slopes = np.zeros(arch.depth)
        self._changes = StreamChanges.none(arch.definition.streams, arch.tokens)
        self._whole = passes_changes(arch)
        self._sizes = [self._totals(0)]
        for block in self._run.blocks:
            self._pass(block)
        self._finish()

    def _gradients(self, layer: int) -> list[list[Array]]:
        """Gradient Grams of the mean loss over the step's sequences."""
        with np.errstate(over="ignore"):
            scale = np.exp(self._run.exponents[layer]) / self._arch.batch**2
        if not np.isfinite(scale):
            raise AssumptionError(
                f"the gradient leaves float64's range at layer {layer}; take the step of a shallower stack"
            )
        return [[scale * gram for gram in row] for row in self._run.gradients[layer]]

    def _pass(self, block: Block) -> None:
        branches: dict[int, BranchSteps] = {}

        def transfer(origin: Branch, gram: Array, grad: Array) -> Array:
            branches[origin.index], stream = self._branch(block, origin, gram, grad)
            return stream

        adjoint, (forward, back) = block.reversed(self._gradients(block.layer + 1), transfer)
        back.outputs()  # fills the branches
        for index, steps in branches.items():
            kind = block.wiring.trace.nodes[index]
            assert isinstance(kind, Branch)
            self._keep(steps, SUBLAYERS[kind.kind].rstrip("."))
        if self._whole:

            def transport(branch: Branch, entering: Array, total: Array) -> Change:
                return branches[branch.index].change(entering, total)

            self._changes = BlockChanges(adjoint, forward, back, self._changes, transport).outputs()
        self._sizes.append(self._totals(block.layer + 1))

    def _branch(self, block: Block, origin: Branch, gram: Array, grad: Array) -> tuple[BranchSteps, Array]:
        component, gains = block.part(origin)
        tokens, layer = self._tokens, block.layer
        at = [b.index for b in block.wiring.trace.branches].index(origin.index)
        v = float(self._run.finite[0][layer][at])
        if isinstance(component, SampledAttention):
            output = block.forward().cov(origin, origin)
            drawn = tokens(layer), v, tokens.probes(layer), tokens.latents(component, layer)
            stream, reads = component.backward_grams(gram, output, grad, gains, *drawn)
        else:
            assert isinstance(component, FeedForward)
            pairs = tokens.of_pairs(gram)
            stream, reads = (
                grad * component.gain(*pairs, gains),
                component.matrix_grams(*pairs, grad, gains),
            )
        logs = {name: self._run.profiles[name, "weight_grad_norm"][layer] for name in reads}
        squared = {name: float(np.exp(log)) for name, log in logs.items()}
        steps = BranchSteps(
            self._rule,
            self._rates,
            tokens,
            component,
            gains,
            layer,
            gram,
            grad,
            reads,
            squared,
            v - 1 / self._arch.width,
            float(self._run.answers[layer][at]),
        )
        return steps, stream

    def _keep(self, branch: BranchSteps, kind: str) -> None:
        arch, layer = self._arch, branch.layer
        for name, step in branch.steps.items():
            rate, gain = self._rates[name], branch.gains[name]
            slope = rate * branch.slope(name)
            moved = rate**2 * float(np.trace(step.square)) / arch.tokens
            for quantity, value in {
                "update_ratio": rate * np.sqrt(step.size / (gain * step.outputs)) if gain else np.inf,
                "grad_l1": step.l1,
                "grad_nuclear": step.nuclear,
                "loss_slope": slope,
                "matrix_change": moved,
            }.items():
                self._set(name, quantity, layer, value)
            self._slopes[layer] += slope
        nothing = np.zeros((arch.tokens,) * 2)
        changed = (
            float(np.trace(branch.change(nothing, nothing).total(branch.grad))) / arch.tokens
            if self._whole
            else np.nan
        )
        self._set(kind, "branch_change", layer, changed)

    def _set(self, stream: str, quantity: str, layer: int, value: float) -> None:
        """Keep the logarithm of a positive number of one block."""
        profile = self.profiles.setdefault((stream, quantity), np.full(self._arch.depth, -np.inf))
        with np.errstate(divide="ignore"):
            profile[layer] = np.log(value)

    def _totals(self, layer: int) -> tuple[Array, float]:
        """Second moment of each stream's change, and that of all gradients."""
        grads, n = self._gradients(layer), self._arch.tokens
        found = self._changes.total(grads)
        count = range(len(grads))
        sizes = np.array([np.trace(found[i][i]) / n for i in count])
        return sizes, sum(float(np.trace(grads[i][i])) / n for i in count)

    def _finish(self) -> None:
        arch, profiles = self._arch, self.profiles
        total = self._slopes.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            for name, quantity in [key for key in profiles if key[1] == "loss_slope"]:
                profiles[name, "learning_share"] = np.exp(profiles[name, quantity]) / total
            profiles["block", "loss_slope"] = np.log(self._slopes)
            profiles["block", "learning_share"] = self._slopes / total
            profiles["all", "loss_slope"] = np.log([total])
            sizes = np.array([size for size, _ in self._sizes])
            sizes[1:] = sizes[1:] if self._whole else np.nan
            grads = np.array([grad for _, grad in self._sizes])
            below = np.concatenate([[0.0], np.cumsum(self._slopes)])
            coherent = below**2 / (grads * (arch.batch * arch.tokens * arch.width) ** 2)
            for i, size in enumerate(sizes.T):
                profiles[str(i), "stream_change"] = self._moved(np.log(size))
            profiles["all", "coherent_change"] = self._moved(np.log(coherent))
            profiles["all", "coherent_share"] = self._moved(coherent / sizes.sum(axis=1))
        self._output(total)

    def _moved(self, profile: Array) -> Array:
        """A profile over boundaries, without the input, which nothing moves."""
        return np.concatenate([[np.nan], profile[1:]])

    def _output(self, total: float) -> None:
        """What the model's output moves by."""
        arch, run = self._arch, self._run
        size = self._tokens.size(run.loss)
        grad = run.loss / arch.batch**2

        def refuse(branch: Branch, *_: Array) -> Array:
            raise AssumptionError(
                f"steps through a readout with {branch.kind!r} are not derived; use networks="
            )

        adjoint, (forward, back) = run.readout.reversed([[grad]], refuse)
        coherent = total**2 / (size / arch.batch**2 * (arch.batch * arch.tokens * arch.width) ** 2)
        moved = np.nan
        if self._whole:

            def none(branch: Branch, *_: Array) -> Change:
                raise AssumptionError(f"steps through {branch.kind!r} in a readout are not derived")

            out = BlockChanges(adjoint, forward, back, self._changes, none).outputs()
            moved = float(np.trace(out.total([[grad]])[0][0])) / arch.tokens
        self.profiles["output", "stream_change"] = np.log([moved])
        self.profiles["output", "coherent_change"] = np.log([coherent])
        self.profiles["output", "coherent_share"] = np.array([coherent / moved])
