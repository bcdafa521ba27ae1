r"""The neural tangent kernel of a network's tokens, matrix by matrix (T13.12).

With y_sc the output of token s at coordinate c, a matrix adds to the kernel of two tokens

    Theta_st = mean over c of <dy_sc/dW, dy_tc/dW>,

an inner product of two gradients. That of a loss with gradient R at the output is G = sum_sc R_sc dy_sc/dW,
so that E |G|_F^2 = d sum_st E[R_s R_t] Theta_st: probes that are independent from token to token see the
diagonal, and one probe for all tokens the sum over all pairs. Two losses of ``predict`` give both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..base import arguments
from ..base.errors import InputError
from ..base.quantities import Key, tidy
from ..gaussian.closed_forms import Array
from ..prediction.predict import predict_profiles
from ..spec.architecture import Architecture
from ..spec.arguments import architecture

if TYPE_CHECKING:
    from ..montecarlo.ensemble import Ensemble

#: losses whose gradient at the output is independent from token to token, and the same for all
LOSSES = ("probe", "mean")

SIZE = "weight_grad_norm"


def tangent_kernel(
    arch: Architecture | str, *, networks: int = 0, seed: int = 0, device: str = "auto"
) -> pd.DataFrame:
    """The tangent kernel of tokens at initialisation, of the weight matrices of all blocks.

    Source: docs/theory.md, T13.12.

    Args:
        arch: an architecture, or its text form, with the loss "probe".
        networks: 0 for theory; else as many random networks are measured.
        seed, device: of these networks, as of ``simulate``.

    Returns:
        columns as of ``predict`` or, with networks, of ``simulate``: by layer and matrix, of "block" and, at
        layer 0, of "all" matrices ``kernel_trace``, the mean of Theta_ss over tokens, and
        ``kernel_alignment``, the mean of Theta_st over pairs of tokens over that.

    Raises:
        InputError: a single token, another loss, or a value that cannot be used.
        AssumptionError: no theory holds for this architecture; ``networks`` measures it.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.tangent_kernel("pre-norm depth=2 width=32 heads=2 tokens=4")
        >>> value = table.set_index(["stream", "quantity"])["value"]
        >>> float(value["all", "kernel_alignment"]) < 1
        True
    """
    arch = architecture(arch)
    if arch.loss != "probe" or arch.tokens < 2:
        raise InputError(
            "the tangent kernel is that of outputs of at least 2 tokens, got "
            f"loss={arch.loss} tokens={arch.tokens}; take loss=probe"
        )
    networks = arguments.whole("networks", networks)
    if networks:
        return kernel_ensemble(arch, networks, seed, device).table
    both = [predict_profiles(arch.with_(loss=loss)) for loss in LOSSES]
    profiles = _kernels(arch, *({k[0]: p.profiles[k] for k in p.profiles if k[1] == SIZE} for p in both))
    return tidy(arch.labels, profiles, theory=both[0].theory)


def kernel_ensemble(arch: Architecture, networks: int, seed: Any, device: Any) -> Ensemble:
    """Measured kernels of the same networks under both losses."""
    from ..montecarlo.ensemble import Ensemble, simulate

    one, other = (
        simulate(arch.with_(loss=loss), networks=networks, seed=seed, device=device, progress=False)
        for loss in LOSSES
    )
    sizes = [{k[0]: e.samples[k] for k in e.samples if k[1] == SIZE} for e in (one, other)]
    samples = _kernels(arch, *sizes)
    return Ensemble(arch, networks, one.seed, one.device, one.engine, one.reason, one.dtype, samples)


def _kernels(
    arch: Architecture, alone: Mapping[str, Array], together: Mapping[str, Array]
) -> dict[Key, Array]:
    """Quantities of each matrix, of blocks and of all, from logarithms of E |G|_F^2 over layers."""
    found: dict[Key, Array] = {}
    sizes = {name: (np.exp(alone[name]), np.exp(together[name])) for name in arch.weights}
    blocks = tuple(np.asarray(sum(pair[i] for pair in sizes.values())) for i in range(2))
    whole = tuple(x.sum(axis=-1, keepdims=True) for x in blocks)
    for name, (one, other) in {**sizes, "block": blocks, "all": whole}.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            found[name, "kernel_trace"] = np.log(one / (arch.tokens * arch.width))
            found[name, "kernel_alignment"] = (_over(other, one) - 1) / (arch.tokens - 1)
    return found


def _over(other: Array, one: Array) -> Array:
    """Ratios whose mean over networks is that of the means, and whose spread is its error to first order: a
    mean of ratios is too high where networks scatter."""
    if one.ndim == 1:
        return np.asarray(other / one)
    mean = one.mean(axis=0)
    return np.asarray((other - other.mean(axis=0) / mean * (one - mean)) / mean)
