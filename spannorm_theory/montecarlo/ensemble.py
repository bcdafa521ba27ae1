"""Ensembles of random networks: batching, and the estimates that come out."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ..base import arguments
from ..base.errors import InputError
from ..base.quantities import Key, split_positions
from ..layers.shown_positions import shown_positions
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .batches import Job, require_memory, run
from .implicit import ImplicitWeights
from .network import MakeWeights
from .program import Program
from .resources import choose_device
from .statistics import estimates, summarise
from .weights import ExplicitWeights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Ensemble:
    """Measurements of independent random networks of one architecture.

    Attributes:
        arch: what was measured.
        networks: how many were measured.
        seed: from which the networks were drawn.
        device, engine, dtype: what was really used; ``reason`` says why that engine.
        samples: ``(stream, quantity)`` to an array (networks, layers), natural logarithms where
            ``QUANTITIES[quantity].logarithmic``. Streams are called "0", "1"; for weight gradients the
            stream is the matrix's name. By position, arrays (networks, layers, positions).
        positions: measured one by one, from 1; None where samples are averages over tokens.

    Example:
        >>> import spannorm_theory as st
        >>> found = st.simulate("post-norm depth=2 width=64 heads=2 tokens=8", networks=4, progress=False)
        >>> list(found.table.columns[5:10])
        ['layer', 'stream', 'quantity', 'value', 'log_value']
    """

    arch: Architecture
    networks: int
    seed: int
    device: str
    engine: str
    reason: str
    dtype: str
    samples: Mapping[Key, Array]
    positions: tuple[int, ...] | None = None

    @property
    def table(self) -> pd.DataFrame:
        """One row per (layer, stream, quantity): the mean over networks with its standard error. By position
        there is a column ``position`` behind ``layer``, and a row for each.

        Columns beside those of :func:`.quantities.tidy`: networks; se, standard error of the mean;
        relative_se = se / |value|, a number also where se underflows; low and high, the 95% t-interval of
        the mean; geometric, the geometric mean of logarithmic quantities (NaN for others).
        """
        flat = {key: sample.reshape(len(sample), -1) for key, sample in self.samples.items()}
        table = estimates([(self.arch.labels, summarise(flat))])
        return table if self.positions is None else split_positions(table, self.positions)

    def __repr__(self) -> str:
        """One line, in place of all numbers."""
        used = f"{self.engine} engine, {self.device}, {self.dtype}, seed {self.seed}"
        return f"Ensemble: {self.networks} networks of {self.arch} ({used})"

    def _repr_html_(self) -> str:
        rows = ["stream", "quantity"] if self.positions is None else ["stream", "quantity", "position"]
        last = self.table.groupby(rows, sort=False).last()[["layer", "value", "se"]]
        used = f"{self.engine} engine, {self.device}, {self.dtype}, seed {self.seed}"
        return (
            f"<p><b>{self.networks} networks</b> of {escape(f'{self.arch} ({used})')}; at the last layer:</p>"
            f"{last.to_html(float_format='{:.4g}'.format)}"
        )


DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def simulate(
    arch: Architecture | str,
    networks: int = 64,
    seed: int = 0,
    device: str = "auto",
    engine: str = "auto",
    dtype: str = "float32",
    progress: bool | None = None,
    first: int = 0,
    by: str | None = None,
    positions: Sequence[int] | None = None,
) -> Ensemble:
    """Measure independent random networks of ``arch``, forward and backward, at every layer.

    Each network reads one sequence and has one loss, or as many as the architecture says
    (:mod:`.boundary`). Results depend on ``seed`` and not on how networks are batched.

    Source: docs/theory.md, section 1 for the networks and section 2 for what is measured.

    Args:
        arch: an architecture, or its text form.
        networks: how many, at least 1 (2 for standard errors).
        seed: from 0 to 2^63 - 1.
        device: "auto", "cpu", "cuda" or "cuda:<index>", or a ``torch.device``.
        engine: "explicit" draws every weight matrix; "implicit" draws only what the measurements see,
            with the same law; "auto" takes the cheaper one.
        dtype: "float32", "float64" or "bfloat16"; statistics are float64 in any case. The random numbers
            are the same in every precision, hence the matrices of the explicit engine. The implicit
            engine multiplies them by factors of Grams; where tokens have collapsed, rounding turns
            these factors, and its networks in two precisions agree in law only.
        progress: False shows no progress bar; otherwise there is one after two seconds.
        first: index of the first network, so that parts of one ensemble can be measured apart.
        by: "position" measures ``variance`` and ``grad_variance`` of single tokens; None, averages over them.
        positions: those to measure by position, from 1; None for some that show all
            (:func:`.shown_positions.shown_positions`).

    Returns:
        an :class:`Ensemble`, whose ``table`` has the rows of ``predict`` with standard errors.

    Raises:
        InputError: a value that cannot be used, or a size that does not fit into memory.
        NonFiniteError: a measurement is infinite or undefined.

    Example:
        >>> import spannorm_theory as st
        >>> found = st.simulate("post-norm depth=2 width=64 heads=2 tokens=8", networks=4, progress=False)
        >>> found.samples["0", "variance"].shape
        (4, 3)
    """
    arch, seed = architecture(arch), arguments.seed(seed)
    networks, first = arguments.whole("networks", networks, 1), arguments.whole("first", first)
    dtype = arguments.choice("dtype", dtype, DTYPES)
    shown = shown_positions(arch, by, positions)
    measured = None if shown is None else tuple(shown.tolist())
    used, reason = choose_engine(arch, engine)
    where = choose_device(device)
    require_memory(arch, networks, where, DTYPES[dtype], used == "explicit", len(measured or ()))
    job = Job(Program(arch), ENGINES[used], seed, where, DTYPES[dtype], measured)
    samples, finished = run(job, networks, progress is not False, first)
    return Ensemble(arch, finished, seed, str(job.device), used, reason, dtype, samples, measured)


ENGINES: dict[str, MakeWeights] = {"explicit": ExplicitWeights, "implicit": ImplicitWeights}

#: the engines are equally fast where width / tokens is 3.5 (width 64), 2.5 (256) and 2.5 (1024) on a CPU
FEW = 3


def choose_engine(arch: Architecture, engine: str) -> tuple[str, str]:
    """The engine to use and why.

    Raises:
        InputError: "implicit" with as many tokens as coordinates.
    """
    engine = arguments.choice("engine", engine, ("auto", *ENGINES))
    n, d = arch.step_tokens, arch.width
    if engine == "implicit" and n >= d:
        raise InputError(
            f"the implicit engine needs fewer tokens of a step than coordinates, got {n} and width={d}; use "
            "engine='explicit', or 'auto'"
        )
    if engine == "implicit" and arch.draw != "normal":
        raise InputError(
            f"the implicit engine draws what normal matrices do, not draw={arch.draw!r}; use "
            "engine='explicit', or 'auto'"
        )
    if engine == "implicit" and arch.unique_blocks is not None:
        raise InputError(
            "the implicit engine draws what a matrix does in one block, and "
            f"unique_blocks={arch.unique_blocks} puts one in several; use engine='explicit', or 'auto'"
        )
    if engine != "auto":
        return engine, "asked for"
    if arch.unique_blocks is not None:
        return "explicit", "blocks have matrices in common"
    if arch.draw != "normal":
        return "explicit", f"matrices are drawn by draw={arch.draw!r}"
    if FEW * n <= d:
        return "implicit", f"width {d} is at least {FEW} x {n} tokens"
    return "explicit", f"width {d} is less than {FEW} x {n} tokens"
