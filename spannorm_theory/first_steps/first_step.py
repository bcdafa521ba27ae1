"""``first_step``: what the first step of an optimiser moves, in theory or measured, as a tidy table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..base import arguments
from ..base.quantities import tidy
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .optimisers import Optimiser
from .optimisers import optimiser as optimiser_of
from .rates import rates_of
from .theory import predicted

if TYPE_CHECKING:
    from ..montecarlo.ensemble import Ensemble


def first_step(
    arch: Architecture | str,
    optimiser: str | Optimiser = "adam",
    *,
    lr: float | Mapping[str, float] = 1.0,
    epsilon: float | None = None,
    networks: int = 0,
    seed: int = 0,
    device: str = "auto",
    progress: bool | None = None,
) -> pd.DataFrame:
    """Sizes, slopes and changes of the first step W <- W - lr U(G) of the weight matrices of all blocks.

    Embedding, head and learnt multipliers stay. Everything is of first order in ``lr``, exactly, so that it
    scales with ``lr`` or its square.

    Source: docs/first_step.md.

    Args:
        arch: an architecture, or its text form.
        optimiser: "sgd", "sign", "adam" (its first step, with corrected averages), "orthogonal" or "muon".
        lr: a learning rate, or a mapping of matrices' names to rates; those that it does not name stay.
        epsilon: of "adam"; None for 1e-8.
        networks: 0 for theory; else as many random networks are measured, in float64.
        seed, device, progress: of these networks, as of ``simulate``.

    Returns:
        columns as of ``predict`` or, with networks, of ``simulate``, and ``optimiser``. A matrix has
        ``update_ratio`` |dW|_F / |W|_F, ``grad_l1`` and ``grad_nuclear`` of its gradient, ``loss_slope``
        (the decrease of the loss by its step), ``learning_share`` (of the whole decrease; both also of
        "block", and the decrease of "all") and ``matrix_change`` (second moment of X dW); branches "attn" and
        "ffn" have ``branch_change`` by their own matrices; streams have ``stream_change`` by all matrices
        below and, of "all" of them together, ``coherent_change`` along the gradient and its share,
        ``coherent_share``; so has the model's "output".

    Raises:
        UnknownNameError: there is no such optimiser, or no such matrix.
        InputError: another value that cannot be used.
        AssumptionError: the step of this architecture is not derived; ``networks`` measures it.
        NonFiniteError: a measurement is infinite or undefined.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.first_step("pre-norm depth=2 width=32 heads=2 tokens=4", "sign", networks=2)
        >>> share = table[(table["quantity"] == "learning_share") & (table["stream"] == "block")]
        >>> round(float(share["value"].sum()), 9)
        1.0
    """
    arch = architecture(arch)
    rule, rates = optimiser_of(optimiser, epsilon), rates_of(arch, lr)
    networks = arguments.whole("networks", networks)
    if networks:
        table = step_ensemble(arch, rule, rates, networks, seed, device, progress).table
    else:
        prediction = predicted(arch, rule, rates)
        extra = None if prediction.errors is None else {"se": prediction.errors}
        table = tidy(arch.labels, prediction.profiles, extra, theory=prediction.theory)
    return table.assign(optimiser=rule.name)


def step_ensemble(
    arch: Architecture,
    rule: Optimiser,
    rates: Mapping[str, float],
    networks: int,
    seed: Any,
    device: Any,
    progress: Any,
) -> Ensemble:
    """The measured quantities of the step of ``networks`` networks."""
    from ..montecarlo.ensemble import Ensemble
    from ..montecarlo.resources import choose_device
    from .measured import measure

    seed, where = arguments.seed(seed), choose_device(device)
    samples = measure(arch, rule, rates, networks, seed, where, progress is not False)
    reason = "updates need every matrix"
    return Ensemble(arch, networks, seed, str(where), "explicit", reason, "float64", samples)
