"""Bounds of one branch's gains over all token correlations, from bounds of its input's size (T11.1,
T11.3)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.activations import ACTIVATIONS
from ..gaussian.closed_forms import Array
from ..layers.attention import Attention
from ..moments.one_token import scale_free
from ..moments.schedule import relative_gain
from ..moments.two_tokens import LARGEST_VARIANCE
from ..prediction.blocks import Component, WiredBlocks
from ..spec.architecture import Architecture
from ..spec.graph import VALUE_PATH, Branch

Interval = tuple[float, float]

#: bounds of a branch's forward and of its backward gain
Gains = tuple[Interval, Interval]

UNIT: Interval = (1.0, 1.0)

#: matrices in whose gains a branch is linear whatever its input
LINEAR = {"attention": VALUE_PATH["attention"], "ffn": VALUE_PATH["ffn"][1:]}

#: sizes of a branch input for each decade of its bounds, and the least number of them: extremes between them
#: are missed by the square of their distance
PER_DECADE, FEWEST = 10, 9

#: cosines at which attention is evaluated; extremes between them are missed by the square of their distance
COSINES = 201

#: relative width of an interval that counts as one number
SAME = 1e-12


def as_built(branch: Branch, arch: Architecture) -> Branch:
    """A traced branch with the norms inside attention that the architecture adds."""
    return replace(branch, normed=arch.normed(branch)) if branch.kind == "attention" else branch


class GainBox:
    """Bounds of the gains of one branch in the blocks of a wiring.

    They are relative to what the scaling rule multiplies the branch by and, where the branch does not set its
    own size, to the second moment of its input; an element-wise function has none. The rule's gains of
    matrices in which a branch is linear drop out, so that its blocks share their bounds.
    """

    def __init__(self, blocks: WiredBlocks, place: int) -> None:
        self._arch = arch = blocks.arch
        self._branch = branch = as_built(blocks.step.trace.branches[place], arch)
        self._moments: Component = blocks.components[place]
        #: attention that does the same at every size of its input
        self._whole = len(branch.normed) == 3
        self._known: dict[tuple[float, ...], Gains] = {}
        if branch.elementwise:
            return
        base, layers = arch.base_gains, blocks.layers
        plain = {name: np.full(len(layers), base[name]) for name in LINEAR[branch.kind]}
        gains, self._divisor = {**blocks.gains[place], **plain}, np.ones(len(layers))
        if branch.kind == "ffn":
            # not linear in this gain, whose factor is divided out again; what a rule silences has any gain
            silent = relative_gain(branch, arch, layers) == 0
            gains["ffn.up"] = np.where(silent, base["ffn.up"], gains["ffn.up"])
            if not scale_free(branch):
                self._divisor = gains["ffn.up"] / base["ffn.up"]
        self._names, self._rows = list(gains), np.array(list(gains.values())).T.tolist()

    def __call__(self, at: int, low: float, high: float) -> Gains:
        """The bounds in the wiring's block ``at``, for an input whose second moment lies in [low, high].

        Raises:
            AssumptionError: none are known, or a kernel does not converge at such sizes.
        """
        if not 0 < low <= high <= LARGEST_VARIANCE:
            raise AssumptionError(f"the second moment of a branch input may reach {high:.3g}, or be zero")
        if self._whole:
            low = high = 1.0
        elif high - low <= SAME * high:
            low = high
        if self._branch.elementwise:
            if low < high:
                _require_monotone(self._branch.kind, low, high)
            return UNIT, UNIT
        row = self._rows[at]
        key = (low, high, *row)
        if key not in self._known:
            self._known[key] = self._found(dict(zip(self._names, row, strict=True)), low, high)
        divisor = self._divisor[at]
        (a, b), (c, d) = self._known[key]
        return (a / divisor, b / divisor), (c / divisor, d / divisor)

    def _found(self, gains: dict[str, float], low: float, high: float) -> Gains:
        moments, kept = self._moments, 1.0 if self._branch.elementwise else 1 - self._arch.dropout
        if "value" in self._branch.normed and self._arch.norm_epsilon:
            raise AssumptionError("no bound of values behind a norm that passes a part of their size")
        sizes = _sizes(low, high) if low < high else np.array([high])
        if isinstance(moments, Attention):
            sizes = sizes[-1:]
            forward, backward = self._attention(moments, gains, high, kept, known=low == high)
        else:
            forward = moments.output(sizes, sizes, sizes, gains) / kept
            backward = moments.gain(sizes, sizes, sizes, gains) / kept
        if scale_free(self._branch):
            return _range(forward), _range(backward * sizes)
        return _range(forward / sizes), _range(backward)

    def _attention(
        self, moments: Attention, gains: dict[str, float], u: float, kept: float, *, known: bool
    ) -> tuple[Array, Array]:
        arch = self._arch
        if known and arch.exchangeable:
            return _all_cosines(moments, tuple(gains.items()), u, min(0.0, arch.input_cosine), kept)
        inside = moments.inner_norm or moments.latents.names
        if arch.attention_dropout or inside or arch.attention_gate or arch.sinks:
            raise AssumptionError(
                "no bound of dropout, sinks, a gate or norms inside attention for tokens that differ"
            )
        return _any_weights(moments, gains, u, kept)


def _range(x: Array) -> Interval:
    return float(np.min(x)), float(np.max(x))


def _sizes(low: float, high: float) -> Array:
    return np.geomspace(low, high, max(FEWEST, int(PER_DECADE * np.log10(high / low)) + 1))


def _require_monotone(activation: str, low: float, high: float) -> None:
    """Refuse sizes between which E phi^2 does not rise or E phi'^2 does not fall."""
    sizes, kernel = _sizes(low, high), ACTIVATIONS[activation].kernel
    value, slope = kernel.value(sizes, sizes, sizes), kernel.slope(sizes, sizes, sizes)
    if (np.diff(value) < 0).any() or (np.diff(slope) > 0).any():
        raise AssumptionError(
            f"E phi^2 or E phi'^2 of {activation} is not monotone in [{low:.3g}, {high:.3g}]"
        )


@lru_cache(maxsize=512)  # scaling rules share most of their attention
def _all_cosines(
    moments: Attention, named: tuple[tuple[str, float], ...], u: float, lowest: float, kept: float
) -> tuple[Array, Array]:
    """Forward and backward gains at token cosines from ``lowest`` on, at an input of second moment u."""
    rho, gains = np.linspace(lowest, 1, COSINES), dict(named)
    at = moments.at(np.full_like(rho, u), u * (1 - rho), gains)
    maps = moments.backward(at, 1 / moments.width)["stream"]
    one = maps[:, 0, 0] / kept
    return moments.second_moments(at) / kept, np.concatenate([one, one + maps[:, 0, 1]])


def _any_weights(moments: Attention, gains: dict[str, float], u: float, kept: float) -> tuple[Array, Array]:
    """Extremes of the forward and the backward gain for any mask and any weights, at an input of second
    moment up to u (T11.3)."""
    n = moments.tokens
    size, back = {}, {}
    for name in ("query", "key", "value"):
        normed = moments.head_norm is not None and name in moments.normed
        kernel = moments.head_norm.of(name) if moments.head_norm is not None and normed else None
        size[name] = gains[f"attn.{name}"] * u if kernel is None else 1.0
        back[name] = gains[f"attn.{name}"] if kernel is None else float(kernel.slope(1.0)) / u
    output = gains["attn.output"] / kept
    paths = size["value"] * (size["key"] * back["query"] + n * size["query"] * back["key"])
    most = n * back["value"] + moments.logit_factor * paths
    forward = output * size["value"]
    return np.array([forward / n, forward]), output * np.array([back["value"] / n, most])
