"""The placement that a user's module has: every one of the catalogue, with the gains that were read, against
the profile that was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from ..base import arguments
from ..base.errors import InputError, SpannormError
from ..base.quantities import QUANTITIES, SPECTRAL, Key
from ..models.model import Gap
from ..montecarlo.ensemble import Ensemble
from ..prediction.predict import predict_profiles
from ..prediction.prediction import Prediction
from ..spec.architecture import Architecture
from ..spec.fields import require_fields
from ..spec.placements import PLACEMENTS
from ..verification.outcome import DISAGREES, Verification
from ..verification.verification import compare
from .networks import built, require_buildable
from .placed_norms import catalogue
from .probe import Probe, probe
from .probed import require_probed
from .read import Reading, read

#: relative difference of predictions up to which two designs are one at initialisation
SAME = 1e-6


@dataclass(frozen=True)
class Candidate:
    """A placement, held against the measured profile.

    Attributes:
        distance: root mean square over rows of theory less measurement, in standard errors with the width's
            allowance beside them.
        ties: placements whose predictions are the same numbers.
    """

    placement: str
    arch: Architecture
    prediction: Prediction
    verification: Verification
    ties: tuple[str, ...] = ()

    @property
    def distance(self) -> float:
        """See above; infinite where the theory predicts zero of what is not."""
        tested = self.verification.table.query("verdict not in ('rare', 'not predicted')")
        gates = tested["gate"].fillna(np.inf).to_numpy()
        return float(np.sqrt(np.square(gates).mean()) * self.verification.threshold)

    @property
    def fits(self) -> bool:
        """Whether no row and no drift contradicts it."""
        return self.verification.verdict != DISAGREES


@dataclass(frozen=True, repr=False)
class Identification:
    """What :func:`identify` returns.

    Attributes:
        candidates: by distance, the nearest first; designs that are equal at initialisation are one.
        left_out: placements that could not be held against the module, with the reason.
        reading: what the tensors of one network say (:class:`~spannorm_theory.Reading`).
        probe: what the networks do (:class:`~spannorm_theory.Probe`).
    """

    candidates: tuple[Candidate, ...]
    left_out: tuple[tuple[str, str], ...]
    reading: Reading = field(compare=False)
    probe: Probe = field(compare=False)

    @property
    def best(self) -> Candidate | None:
        """The nearest of those that fit, or the oldest of those that these networks do not tell from it; None
        where none fits."""
        return self._alike[0] if self._alike else None

    @property
    def _alike(self) -> list[Candidate]:
        """The nearest candidate and those that fit as well and differ from it by less than would be seen, by
        age."""
        first = self.candidates[0] if self.candidates and self.candidates[0].fits else None
        if first is None:
            return []
        others = [c for c in self.candidates[1:] if c.fits and not _seen(first, c)]
        return sorted([first, *others], key=lambda c: _age(c.placement))

    @property
    def arch(self) -> Architecture | None:
        """The architecture of the best."""
        return None if self.best is None else self.best.arch

    @property
    def table(self) -> pd.DataFrame:
        """A row for each candidate: placement, ties (text), distance, fits."""
        rows = [(c.placement, ", ".join(c.ties), c.distance, c.fits) for c in self.candidates]
        return pd.DataFrame(rows, columns=["placement", "ties", "distance", "fits"])

    def words(self) -> str:
        """The best in one sentence, with what tells it from the next.

        Returns:
            one sentence.
        """
        if not self.candidates:
            return "none of the placements could be held against this module"
        alike = self._alike
        if not alike:
            nearest = self.candidates[0]
            gaps = "; ".join(gap.feature for gap in self.reading.gaps[:3])
            return (
                f"none of these: the nearest, {nearest.placement}, is {nearest.distance:.3g} standard errors "
                f"away; {_worst(nearest)}{f'; not modelled: {gaps}' if gaps else ''}"
            )
        first, *others = alike
        equal = f" (equal at initialisation: {', '.join(first.ties)})" if first.ties else ""
        said = f"{first.placement}{equal}, {first.distance:.2g} standard errors away"
        if others:
            said += f"; {', '.join(c.placement for c in others)}: not told from it at this size"
        after = [c for c in self.candidates if c not in alike]
        return f"{said}; {_difference(first, after[0])}" if after else said

    def __repr__(self) -> str:
        return self.words()


def identify(
    build: nn.Module | Callable[..., Any],
    inputs: Any = None,
    networks: int = 16,
    *,
    tokens: int = 64,
    blocks: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
    **fields: Any,
) -> Identification:
    """Hold every placement of the catalogue, with the gains of the module's tensors, against its profile.

    Source: docs/your_model.md.

    Args:
        build, inputs, networks, tokens, blocks, seed, progress: those of :func:`.probe.probe`; a module alone
            is one network, from which nothing can be told.
        fields: fields of an architecture that the module does not show, as ``activation=``.

    Returns:
        an :class:`Identification`: candidates by distance, or none that fits.

    Raises:
        InputError: fewer than 3 networks, or what ``read`` and ``probe`` refuse.

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
        >>> found = st.identify(build, networks=4, tokens=8, progress=False)
        >>> list(found.table.columns)
        ['placement', 'ties', 'distance', 'fits']
    """
    require_buildable(build)
    if isinstance(build, nn.Module):
        raise InputError(
            "identify needs standard errors: pass a function of the seed that makes fresh networks"
        )
    require_fields(fields)
    require_probed(fields)
    networks = arguments.whole("networks", networks, 3, why="for a standard error")
    options: dict[str, Any] = {"tokens": tokens, "blocks": blocks, "seed": seed}
    measured = probe(build, inputs, networks, progress=progress, **options)
    model, given = built(build, measured.seeds[0])
    reading = read(model, inputs=given if inputs is None else inputs, **options, **fields)
    return identified(reading, measured)


def identified(reading: Reading, measured: Probe) -> Identification:
    """Hold every placement against what was read and measured.

    Raises:
        InputError: fewer than 3 networks, from which no standard error follows.
    """
    arguments.whole("networks", measured.networks, 3, why="for a standard error")
    candidates: list[Candidate] = []
    left_out: list[tuple[str, str]] = []
    own = () if reading.arch is None else (reading.arch.placement,)  # which may have options
    for name in dict.fromkeys((*catalogue(), *own)):
        try:
            arch = reading.architecture(name)
            prediction = predict_profiles(arch, "auto", False)
            candidates.append(
                Candidate(name, arch, prediction, held(arch, prediction, measured, reading.gaps))
            )
        except SpannormError as error:
            left_out.append((name, str(error)))
    one_of_each = _without_ties(candidates)
    return Identification(
        tuple(sorted(one_of_each, key=lambda c: (not c.fits, c.distance))), tuple(left_out), reading, measured
    )


def held(
    arch: Architecture, prediction: Prediction, measured: Probe, gaps: Sequence[Gap] = ()
) -> Verification:
    """A prediction judged by the networks of a module, on the quantities that both have, but for the weight
    gradients that gaps are known to change; metrics of spectra, whose theory is the first to leave its errors
    at small widths, are no evidence for or against a module.

    Raises:
        InputError: they have another number of streams.
    """
    streams = [key for key in measured.samples if key[1] == "variance"]
    if len(streams) != arch.definition.streams:
        raise InputError(
            f"{arch.name} has {arch.definition.streams} streams, and the module shows {len(streams)}"
        )
    left_out = {(matrix, "weight_grad_norm") for gap in gaps for matrix in gap.gradients}
    both = {
        key: sample
        for key, sample in measured.samples.items()
        if key in prediction.profiles and key[1] not in SPECTRAL and not np.isnan(sample).any()
    }
    both = {key: sample for key, sample in both.items() if key not in left_out}
    ensemble = Ensemble(
        arch, measured.networks, 0, "", "module", f"networks of {measured.name}", "as built", both
    )
    return compare(prediction, ensemble)


def _without_ties(candidates: Sequence[Candidate]) -> list[Candidate]:
    """One candidate of those whose predictions are the same numbers: the first by the catalogue's age."""
    result: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: _age(c.placement)):
        for i, known in enumerate(result):
            if _equal(known.prediction, one.prediction):
                ties = (*known.ties, one.placement)
                result[i] = Candidate(known.placement, known.arch, known.prediction, known.verification, ties)
                break
        else:
            result.append(one)
    return result


def _age(placement: str) -> tuple[int, str]:
    return PLACEMENTS[placement].year or 9999, placement


def _equal(one: Prediction, other: Prediction) -> bool:
    names = set(one.profiles) & set(other.profiles)
    pairs = [(one.profiles[name], other.profiles[name]) for name in names]
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=SAME, atol=SAME, equal_nan=True) for a, b in pairs
    )


def _worst(one: Candidate) -> str:
    """The row that is farthest from the theory, in words."""
    tested = one.verification.table.query("verdict not in ('rare', 'not predicted')")
    row = tested.iloc[int(tested["gate"].fillna(np.inf).argmax())].to_dict()
    return (
        f"{row['quantity']} of {row['stream']} at layer {row['layer']} is {row['estimate']:.3g} ± "
        f"{row['se']:.1g} and {row['theory']:.3g} in theory"
    )


def _difference(first: Candidate, second: Candidate) -> str:
    """The next candidate, and what tells it from the first: the row in which their theories are the most
    standard errors apart."""
    row = max(_rows(first, second), key=lambda row: _apart(first, second, row) / row["detectable"])
    return (
        f"the next is {second.placement} at {second.distance:.3g}, told apart by {row['quantity']} of "
        f"{row['stream']} at layer {row['layer']}: {row['theory']:.3g} against {row['theory_other']:.3g}, "
        f"measured {row['estimate']:.3g} ± {row['se']:.1g}"
    )


def _rows(first: Candidate, second: Candidate) -> Sequence[Mapping[Any, Any]]:
    """Rows that the first theory predicts, with those of the second beside them."""
    keys = ["layer", "stream", "quantity"]
    both = first.verification.table.merge(second.verification.table, on=keys, suffixes=("", "_other"))
    return both[both["verdict"] != "not predicted"].to_dict("records")


def _seen(first: Candidate, second: Candidate) -> bool:
    """Whether two theories differ in some row by more than these networks would let pass."""
    return any(_apart(first, second, row) > row["detectable"] for row in _rows(first, second))


def _apart(first: Candidate, second: Candidate, row: Mapping[Any, Any]) -> float:
    """Difference of two predictions in one row; relative for squared norms; 0 where one declines."""
    key: Key = row["stream"], row["quantity"]
    one, other = (float(c.prediction.profiles[key][row["layer"]]) for c in (first, second))
    difference = abs(one - other)
    if not np.isfinite(difference):
        return 0.0
    return float(np.expm1(min(difference, 50.0))) if QUANTITIES[key[1]].logarithmic else difference
