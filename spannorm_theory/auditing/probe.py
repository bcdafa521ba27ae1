"""The profile of a user's module: the quantities of ``simulate``, measured on the module itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from ..base import arguments
from ..base.errors import InputError, NonFiniteError, shown
from ..base.quantities import QUANTITIES, Key
from ..montecarlo.global_state import arithmetic
from ..montecarlo.statistics import estimates, summarise
from .blocks import find_blocks
from .fused import FusedRows, fused_rows
from .inputs import feed_of
from .networks import built, fingerprint, plain, require_buildable, require_numbers, seeds_of
from .passes import Loss, Pass
from .roles import BlockMatrices

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Probe:
    """Measurements of independent networks of one module, or of a single one.

    Attributes:
        networks: how many were measured; with one there is no standard error.
        name: of the module's class, as tables call it.
        depth, width, tokens, sequences: of the stream; values are means over the sequences of a network.
        blocks: the path of the list of blocks, or of the module whose calls are the blocks.
        readout: where the probe gradient was put, in words.
        seeds: with which the networks were built, in their order.
        samples: ``(stream, quantity)`` to an array (networks, layers), natural logarithms where the quantity
            is logarithmic, as of :class:`.ensemble.Ensemble`; NaN at layers without a matrix of that role.
        matrices: of each block of the last network.

    Example:
        >>> import spannorm_theory as st
        >>> from torch import nn
        >>> blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        >>> module = nn.Sequential(nn.Embedding(5, 4), blocks, nn.Linear(4, 5))
        >>> found = st.probe(module, tokens=2, progress=False)
        >>> found.blocks, found.depth, found.networks
        ('1', 2, 1)
    """

    networks: int
    name: str
    depth: int
    width: int
    tokens: int
    sequences: int
    blocks: str
    readout: str
    seeds: tuple[int, ...]
    samples: Mapping[Key, Array]
    matrices: tuple[BlockMatrices, ...] = field(compare=False)

    @property
    def labels(self) -> dict[str, str | int]:
        """The columns that tell modules apart in a table."""
        sizes: dict[str, str | int] = {"depth": self.depth, "width": self.width, "tokens": self.tokens}
        return {"placement": self.name, "scaling": "as built", **sizes}

    @property
    def table(self) -> pd.DataFrame:
        """One row per (layer, stream, quantity), with the columns of :attr:`.ensemble.Ensemble.table`."""
        return estimates([(self.labels, summarise(self.samples))])

    def __repr__(self) -> str:
        """Two lines, in place of all numbers."""
        measured = f"{self.networks} networks" if self.networks > 1 else "1 network"
        errors = (
            ""
            if self.networks > 1
            else "\none network has no standard errors: pass a function of the seed that makes fresh ones"
        )
        return (
            f"Probe: {measured} of {self.name} ({self.depth} blocks of {self.blocks!r}, width {self.width}, "
            f"{self.sequences} x {self.tokens} tokens, probe gradient at the {self.readout}){errors}"
        )


def probe(
    build: nn.Module | Callable[..., Any],
    inputs: Any = None,
    networks: int = 16,
    *,
    tokens: int = 64,
    sequences: int = 1,
    blocks: str | None = None,
    loss: str | Loss = "probe",
    training: bool = False,
    seed: int = 0,
    progress: bool | None = None,
) -> Probe:
    """Measure a user's module layer by layer, forward and backward, over independent networks.

    The module is left as it was found: hooks removed, gradients, flags, buffers and modes its own, and the
    global random generators where they stood.

    Source: docs/your_model.md.

    Args:
        build: a function of a seed that makes a fresh network (or a network and its inputs), with torch's
        seed
            set around it; or a module, which is one network and has no standard errors.
        inputs: a tensor of ids or of numbers, a tuple of arguments, a mapping of keyword arguments, or a
            function of the seed that returns one of these, called anew for each network; None draws
            ``sequences`` of ``tokens`` uniform ids for each network.
        networks: how many to build, at least 1 (2 for standard errors); a module is always one.
        tokens: length of the sequences of ids that are drawn where no inputs are given.
        sequences: of one network and step.
        blocks: the path of the list of blocks in the module, or of one module whose calls are the blocks;
        None
            finds the list.
        loss: "probe" puts an independent N(0, 1) gradient at the last hidden state, behind the final norm
            (:mod:`.readout`); a function of the model's output gives a loss of its own.
        training: measure in training mode, with dropout.
        seed: of the networks, their inputs and the probe gradient.
        progress: False shows no progress bar; otherwise there is one after two seconds.

    Returns:
        a :class:`Probe`, whose ``table`` is that of ``simulate``. Squared weight gradients go by role, fused
        matrices cut and experts summed; under the probe loss they are of one sequence.

    Raises:
        InputError: a value that cannot be used, a module that fails on its inputs, or one in which no single
            stream is found, with what to say instead.
        NonFiniteError: a measurement is infinite or undefined.

    Example:
        >>> import spannorm_theory as st
        >>> from torch import nn
        >>> def build(seed):
        ...     layer = nn.TransformerEncoderLayer(
        ...         32, 2, 128, 0.0, "gelu", batch_first=True, norm_first=True, bias=False
        ...     )
        ...     blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        ...     return nn.Sequential(nn.Embedding(50, 32), blocks)
        ...
        >>> found = st.probe(build, networks=4, tokens=8, progress=False)
        >>> found.samples["0", "variance"].shape
        (4, 3)
    """
    require_buildable(build)
    networks, seed = arguments.whole("networks", networks, 1), arguments.seed(seed)
    tokens, sequences = arguments.whole("tokens", tokens, 2), arguments.whole("sequences", sequences, 1)
    training, own = arguments.flag("training", training), _loss(loss)
    seeds = seeds_of(seed, 1 if isinstance(build, nn.Module) else networks)
    passes: list[Pass] = []
    fused: FusedRows = {}
    known: set[tuple[float, ...]] = set()
    with arithmetic():
        for number in tqdm(seeds, unit="network", delay=2, disable=progress is False, desc="probe"):
            model, given = (build, None) if isinstance(build, nn.Module) else built(build, number)
            model = plain(model)
            require_numbers(model)
            _require_fresh(fingerprint(model), known)
            feed = feed_of(given if inputs is None else inputs, model, number, tokens, sequences)
            found = find_blocks(model, blocks)
            fused = fused_rows(model, found, feed) if not passes else fused
            passes.append(Pass(model, found, feed, own, number, training, fused))
            _require_alike(passes[0], passes[-1])
    one = passes[-1]
    return Probe(
        networks=len(passes),
        name=type(model).__name__,
        depth=one.depth,
        width=one.width,
        tokens=one.tokens,
        sequences=one.sequences,
        blocks=found.path,
        readout=one.readout,
        seeds=seeds,
        samples=_samples(passes),
        matrices=tuple(one.matrices),
    )


def _loss(loss: Any) -> Loss | None:
    if isinstance(loss, str) and loss == "probe":
        return None
    if not callable(loss):
        raise InputError(f"loss must be 'probe' or a function of the model's output, got {shown(loss)}")
    return loss  # type: ignore[no-any-return]


def _require_fresh(numbers: tuple[float, ...], known: set[tuple[float, ...]]) -> None:
    """Refuse a network that was there before, of which no error bar could be had."""
    if numbers in known:
        raise InputError(
            "build returned a network with the weights of an earlier one; make and initialise a fresh one in "
            "it, or pass the module itself"
        )
    known.add(numbers)


def _require_alike(first: Pass, last: Pass) -> None:
    names = ("depth", "width", "tokens", "sequences")
    one, other = (tuple(getattr(p, name) for name in names) for p in (first, last))
    if one != other:
        raise InputError(f"every network must have the same {', '.join(names)}; got {one} and {other}")


def _samples(passes: list[Pass]) -> dict[Key, Array]:
    """Means over the sequences of each network, (networks, layers)."""
    keys = dict.fromkeys(key for one in passes for key in one.record.values)  # noqa: PD011
    samples = {}
    for key in keys:
        quantity = QUANTITIES[key[1]]
        layers = 1 if key[0] == "input" else passes[0].depth + (not quantity.per_block)
        sample = np.full((len(passes), layers), np.nan)
        for row, one in zip(sample, passes, strict=True):
            for layer, values in one.record.values.get(key, {}).items():  # noqa: PD011
                row[layer] = _mean(values, quantity.logarithmic)
                _require_finite(key, layer, float(row[layer]))
        samples[key] = sample
    return samples


def _mean(values: torch.Tensor, logarithmic: bool) -> float:
    found = values.double()
    mean = found.logsumexp(0) - float(np.log(len(found))) if logarithmic else found.mean()
    return float(mean)


def _require_finite(key: Key, layer: int, value: float) -> None:
    stream, quantity = key
    if value == np.inf or (np.isnan(value) and not quantity.endswith(("cosine", "share", "rank", "ratio"))):
        raise NonFiniteError(
            f"{quantity} of {stream} is not finite at layer {layer}: the module leaves the range of its "
            "numbers; measure it in float32 or float64, or with another initialisation"
        )
