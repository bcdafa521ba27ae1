"""``expected``: the values of a training monitor at step 0, to draw as reference lines in a dashboard."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from .._version import __version__
from ..base.quantities import LOGGED, OUTPUT
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .predict import predict_profiles

#: quantities of streams that a monitor shows as they are
SHOWN = ("variance", "token_cosine", "branch_share")


def expected(arch: Architecture | str, theory: str = "auto") -> dict[str, Any]:
    """Values of a monitor before the first step, as plain numbers, lists and mappings, to be written as JSON.

    Source: docs/theory.md, section 8.

    Args:
        arch: an architecture, or its text form.
        theory: "auto", "pair", "positions" or "sampled", as of :func:`~spannorm_theory.predict`.

    Returns:
        numbers, and lists over layers by stream or matrix. None stands for what the theory does not predict.

    Keys:
        architecture, theory, version: text.
        loss, logit_second_moment, global_grad_norm: numbers, under a cross-entropy (:mod:`.logged`).
        variance, token_cosine, branch_share: by stream, over layers.
        grad_norm: by stream, over layers: the norm of the gradient at all entries of the stream.
        matrix_grad_norm: by matrix, over blocks; the tables' ``weight_grad_norm`` is its square.
        left_out: lines on what is None of these, why, and what has it.

    Raises:
        InputError, AssumptionError: those of ``predict``.

    Example:
        >>> import spannorm_theory as st
        >>> arch = "pre-norm depth=2 width=64 heads=2 tokens=8 loss=cross-entropy vocabulary=100"
        >>> monitor = st.expected(arch)
        >>> round(monitor["loss"], 2), len(monitor["grad_norm"]["0"])
        (5.1, 3)
    """
    arch = architecture(arch)
    prediction = predict_profiles(arch, theory, progress=True)
    profiles = prediction.profiles
    result: dict[str, Any] = {"architecture": str(arch), "theory": prediction.theory, "version": __version__}
    if arch.loss == "cross-entropy":
        loss, *squares = (float(profiles[OUTPUT, name][0]) for name in LOGGED)
        values = loss, *np.exp(squares).tolist()
        result.update({name: _number(x) for name, x in zip(LOGGED, values, strict=True)})
    for name in (*SHOWN, "grad_norm", "matrix_grad_norm"):
        result[name] = {}
    shown = (*SHOWN, *LOGGED, "grad_variance", "weight_grad_norm")
    result["left_out"] = prediction.unsaid([key for key in profiles if key[1] in shown])
    entries = float(np.log(arch.tokens * arch.width))
    for (of, quantity), x in profiles.items():
        if quantity in SHOWN:
            result[quantity][of] = _numbers(np.exp(x) if quantity == "variance" else x)
        elif quantity == "grad_variance":
            result["grad_norm"][of] = _numbers(np.exp((x + entries) / 2))
        elif quantity == "weight_grad_norm":
            result["matrix_grad_norm"][of] = _numbers(np.exp(x / 2))
    return result


def _number(x: float) -> float | None:
    return x if isfinite(x) else None


def _numbers(x: Array) -> list[float | None]:
    return [_number(entry) for entry in x.tolist()]
