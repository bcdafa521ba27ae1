"""An audit: a user's module read, measured, predicted, and what departs from the expected named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from ..base import arguments
from ..base.errors import InputError, SpannormError
from ..base.files import write_file
from ..first_steps.optimisers import Optimiser
from ..first_steps.optimisers import optimiser as optimiser_of
from ..first_steps.rates import rates_of
from ..models.model import Gap, Model
from ..prediction.predict import predict_profiles
from ..spec.architecture import Architecture
from ..spec.placements import PLACEMENTS
from ..spec.scaling import WEIGHTS
from ..verification.outcome import DISAGREES, UNDECIDED, Verification
from .deviation import Deviation
from .deviations import as_found, deviations, not_shown, undescribed
from .draws import DRAWS, EQUAL
from .expectation import expectation, stated
from .facts import OTHER_NORMS
from .identify import held, identified
from .networks import built, require_buildable
from .norm_deviations import NormsFound, norms_found
from .page import page
from .probe import Probe, probe
from .probed import require_probed
from .read import NOT_DRAWN, Reading, read
from .scheme import restated
from .step_check import StepCheck, step_check
from .suspects import Suspect, suspects

HEALTHY, DEPARTS, OPEN = "healthy", "departs", "undecided"

#: the source of an architecture that nobody stated and no configuration says
UNSTATED = "no expectation, only the theory of what was read"


@dataclass(frozen=True, repr=False)
class Audit:
    """What :func:`audit` returns.

    Attributes:
        reading: what the tensors say.
        probe: what the networks do.
        expected: the architecture that the module should be.
        source: where that comes from, in words.
        deviations: single things in which the module is not as expected, by its tensors and its input.
        arch: the expected architecture with these things as they were found.
        verification: the theory of ``arch`` against the networks.
        gaps: what the module has and ``arch`` does not: with one whose effect is not below noise, nothing is
            passed.
        suspect: where theory and networks disagree, the single change that restores agreement; None where
            they agree, or no change of the list does.
        lacking: what of the deviations no theory has, in words: with one, networks are not judged.
        step: the first step of an optimiser against the theory of ``expected``; None where none was asked
            for.
    """

    reading: Reading
    probe: Probe
    expected: Architecture
    source: str
    deviations: tuple[Deviation, ...]
    arch: Architecture
    verification: Verification = field(compare=False)
    gaps: tuple[Gap, ...]
    suspect: Suspect | None
    lacking: tuple[str, ...] = ()
    step: StepCheck | None = None

    @property
    def verdict(self) -> str:
        """ "departs" where something is not as expected, "undecided" where networks are too few or the module
        has what the theory does not model, else "healthy"."""
        if self.deviations or self.suspect is not None:
            return DEPARTS
        verdicts = [self.verification.verdict, *([] if self.step is None else [self.step.verdict])]
        if not all(gap.below_noise for gap in self.gaps) or UNDECIDED in verdicts:
            return OPEN
        return DEPARTS if DISAGREES in verdicts else HEALTHY

    @property
    def first_block(self) -> int | None:
        """The first block that is not as the theory of ``arch`` says (:func:`first_departure`)."""
        return first_departure(self.verification)

    def summary(self) -> str:
        """The verdict, and a line for each thing that it rests on.

        Returns:
            lines: the verdict with what the module is held against; the rule of each role; each deviation;
            the networks against the theory; the first step; what is not modelled.
        """
        lines = [
            f"{self.probe.name}: {self.verdict.upper()}, against {self.source}",
            f"  {self.reading.words()}",
        ]
        lines += [f"  {one}" for one in self.deviations]
        lines.append(f"  networks against {self._theory}: {self._outcome}{self._left_out}")
        if self._contradicted:
            lines.append(f"  {self._departure()}")
        if self.step is not None:
            lines.append(f"  {self.step.words()}")
        lines += [f"  {'note' if gap.below_noise else 'not modelled'}: {gap}" for gap in self.gaps]
        return "\n".join(lines)

    @property
    def _theory(self) -> str:
        """What the networks are held against, in words."""
        if self.lacking:
            return "the theory"
        if self.deviations:
            return "the theory with these as they were found"
        return "what was read" if self.source == UNSTATED else "the expected architecture"

    @property
    def _contradicted(self) -> bool:
        """Whether networks disagree with a theory that has all that was found."""
        return self.verification.verdict == DISAGREES and not self.lacking

    @property
    def _outcome(self) -> str:
        if self.lacking and self.verification.verdict == DISAGREES:
            return f"UNDECIDED: theory has no {', and no '.join(self.lacking)}"
        return self.verification.outcome()

    @property
    def _left_out(self) -> str:
        """The rows that gaps change, in words."""
        matrices = list(dict.fromkeys(matrix for gap in self.gaps for matrix in gap.gradients))
        return f"; weight gradients of {' and '.join(matrices)} are not judged" if matrices else ""

    def _departure(self) -> str:
        block = self.first_block
        where = "only the stream's gradient departs" if block is None else f"block {block} departs first"
        if self.suspect is not None and self.suspect.block is None:
            return f"{self.suspect.sentence}; with that, theory and networks agree"
        if self.suspect is None:
            whats = {one.what for one in self.deviations}
            if EQUAL in whats:
                return f"{where}; as blocks are copies"
            if DRAWS in whats:
                return f"{where}; as matrices are no draws"
            more = ", but what is not modelled may" if self.gaps else ""
            return f"{where}; no single change of the list restores agreement{more}"
        return f"{where}: {self.suspect.sentence}; with that, theory and networks agree"

    def __repr__(self) -> str:
        return self.summary()

    def assert_healthy(self) -> None:
        """Raise an ``AssertionError`` with the summary unless the verdict is "healthy".

        Raises:
            AssertionError: the verdict is "departs" or "undecided"; its text is the summary.
        """
        if self.verdict != HEALTHY:
            raise AssertionError(self.summary())

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tables, for JSON.

        Returns:
            ``module``, ``verdict``, ``source``, ``expected`` (text form); ``deviations``, each with ``what``,
            ``blocks`` and ``sentence``; ``outcome``, ``first_block`` and ``suspect`` of the networks;
            ``read``, as of :meth:`Reading.to_dict`; ``table``, that of the verification; with a first step
            ``step``: its ``outcome`` in words, and ``table``.
        """
        step = {} if self.step is None else {"step": {"outcome": self.step.words(), "table": self.step.table}}
        return {
            "module": self.probe.name,
            "verdict": self.verdict,
            "source": self.source,
            "expected": str(self.expected),
            "deviations": [
                {"what": one.what, "blocks": list(one.layers), "sentence": one.sentence}
                for one in self.deviations
            ],
            "outcome": self._outcome,
            "first_block": self.first_block,
            "suspect": None if self.suspect is None else self.suspect.sentence,
            "read": self.reading.to_dict(),
            "table": self.verification.table,
            **step,
        }

    def write_html(self, path: str | Path) -> Path:
        """Write the audit as one page that reads offline; returns its path.

        Args:
            path: of the file; one that is there is replaced.

        Returns:
            the path.

        Raises:
            InputError: it cannot be written.
        """
        departures = [str(one) for one in self.deviations]
        if self._contradicted:
            departures.append(self._departure())
        title = f"Audit of {self.probe.name}: {self.verdict}"
        step = "" if self.step is None else self.step.words()
        parts = self.source, self.expected, departures, self.verification, self.probe, self.reading, step
        return write_file(path, page(title, *parts))


def audit(
    build: nn.Module | Callable[..., Any],
    inputs: Any = None,
    networks: int = 32,
    *,
    expected: Architecture | Model | str | None = None,
    tokens: int = 64,
    blocks: str | None = None,
    step: str | Optimiser | None = None,
    lr: float | Mapping[str, float] | None = None,
    epsilon: float | None = None,
    optimiser: Callable[[nn.Module], Any] | None = None,
    seed: int = 0,
    progress: bool | None = None,
    **fields: Any,
) -> Audit:
    """Check a model that is about to be trained: its initialisation against what is expected of it, and its
    forward and backward pass against the theory.

    The blocks of the example are copies of one layer, as ``nn.TransformerEncoder`` makes them; the audit says
    so.

    Source: docs/your_model.md.

    Args:
        build: a function of a seed that makes a fresh network, or it and its inputs.
        inputs, tokens, blocks, seed, progress: those of :func:`.probe.probe`.
        networks: how many to measure, at least 3; 32 decide.
        expected: what the module should be: an architecture, its text form, a published model or its name, or
            the path of a configuration. Its loss, batch and dropout are not asked for. None takes the
            module's own configuration, and where there is none the placement that fits best with the
            initialisation that was read: then only what the networks do is tested, which the summary says,
            with the rule in words.
        step: the optimiser whose first step is checked, by its name in ``first_step``: every network makes
            it, and how far matrices, stream and output move is held against the theory of what is expected.
        lr, epsilon: of that step, as of ``first_step``.
        optimiser: a function of the module that makes its own ``torch.optim.Optimizer``, whose step is then
            the one that is made.
        fields: fields of an architecture that the module does not show, but for those of a loss or of
            dropout.

    Returns:
        an :class:`Audit`; ``print`` shows its summary, and ``assert_healthy`` is for tests.

    Raises:
        InputError: what ``read`` and ``probe`` refuse, or sizes that are not those of ``expected``.
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
        >>> found = st.audit(build, networks=4, tokens=8, progress=False)
        >>> print(found.deviations[0])
        All blocks hold the same numbers: they were copied from one, and are not independent draws
        >>> found.verdict
        'departs'
    """
    require_buildable(build)
    require_probed(fields)
    if isinstance(build, nn.Module):
        raise InputError(
            "audit needs standard errors: pass a function of the seed that makes fresh networks; st.read and "
            "st.probe take a module"
        )
    networks = arguments.whole("networks", networks, 3, why="for a standard error")
    rule = _rule_of(step, lr, epsilon, optimiser)
    if expected is not None:
        stated(expected)  # refused before anything is measured
    options: dict[str, Any] = {"tokens": tokens, "blocks": blocks, "seed": seed}
    measured = probe(build, inputs, networks, progress=progress, **options)
    model, given = built(build, measured.seeds[0])
    wanted = expectation(expected, model, measured.tokens)

    def reading_with(**known: Any) -> Reading:
        return read(model, inputs=given if inputs is None else inputs, **options, **{**known, **fields})

    reading = reading_with(**({} if wanted is None else {"placement": wanted[0].placement}))
    if wanted is None:
        wanted = _best(reading, measured), UNSTATED
    arch, source = wanted[0].with_(**fields), wanted[1]
    _require_sizes(arch, measured)
    if lr is not None:
        rates_of(arch, lr)
    unseen = not_shown(arch, reading.shown)
    if unseen or reading.arch is None:
        reading = reading_with(placement=arch.placement, **unseen)
    assert reading.arch is not None
    moment = float(measured.table.query("quantity == 'variance' and layer == 0")["value"].iloc[0])
    norms = norms_found(reading.called, arch)
    found = [one.deviation for one in reading.oddities if one.what != EQUAL or arch.unique_blocks is None]
    found += deviations(reading.table, reading.arch, arch, source, moment)
    as_it_is, said = _as_found(arch, reading, found, norms)
    found += norms.deviations
    gaps = tuple(gap for gap in reading.gaps if gap.effect != NOT_DRAWN)  # these are deviations
    gaps = tuple(gap for gap in gaps if not said or not gap.feature.startswith(OTHER_NORMS))
    verification = held(as_it_is, predict_profiles(as_it_is, "auto", progress is not False), measured, gaps)
    lacking = (*undescribed(reading.table, found), *norms.lacking)
    # matrices that are no draws, which no architecture says
    open_question = verification.verdict == DISAGREES and all(o.what not in (EQUAL, DRAWS) for o in found)
    open_question = open_question and not lacking
    known = norms.known and said
    suspect = _explanation(as_it_is, verification, measured, gaps, known) if open_question else None
    stepped = None
    if rule is not None and lr is not None:
        stepped = step_check(build, inputs, measured, arch, rule, lr, optimiser, progress is not False)
    return Audit(
        reading, measured, arch, source, tuple(found), as_it_is, verification, gaps, suspect, lacking, stepped
    )


def _as_found(
    arch: Architecture, reading: Reading, found: Sequence[Deviation], norms: NormsFound
) -> tuple[Architecture, bool]:
    """The expected architecture with what deviates as it was found, and whether norms that are not alike are
    in it."""
    assert reading.arch is not None
    changed = arch.with_(**as_found(reading.table, reading.arch, found))
    std = {one.what: reading.rules[one.what].std for one in found if one.what in WEIGHTS}
    changed = restated(changed, std)
    try:
        return norms.in_(changed), norms.known
    except SpannormError:  # no placement has them
        return changed, False


def _rule_of(
    step: str | Optimiser | None,
    lr: float | Mapping[str, float] | None,
    epsilon: float | None,
    optimiser: Callable[[nn.Module], Any] | None,
) -> Optimiser | None:
    """The rule of the first step that is asked for; None where none is.

    Raises:
        InputError: a rule without a rate, or options of a step that is not asked for.
    """
    if step is not None:
        if lr is None:
            raise InputError(f"step={step!r} needs the learning rate that is meant: give lr=, as 1e-3")
        return optimiser_of(step, epsilon)
    for name, value in (("lr", lr), ("epsilon", epsilon), ("optimiser", optimiser)):
        if value is not None:
            raise InputError(f"{name} is of a first step; name its rule, as step='adam'")
    return None


def _best(reading: Reading, measured: Probe) -> Architecture:
    """The architecture as read, with the placement that fits the networks best."""
    if reading.arch is not None:
        return reading.arch
    found = identified(reading, measured)
    if not found.candidates:
        raise InputError("no placement could be held against this module; say what it is expected to be")
    return found.candidates[0].arch


def _require_sizes(arch: Architecture, measured: Probe) -> None:
    for name in ("depth", "width"):
        own, wanted = getattr(measured, name), getattr(arch, name)
        if own != wanted:
            raise InputError(
                f"the module has {name}={own}, and {name}={wanted} is expected; build it at that size"
            )


def first_departure(verification: Verification) -> int | None:
    """The first block that departs from the theory: behind which the stream does; else, the one in which a
    matrix's gradient departs most. None where only the gradient of the stream does."""
    table = verification.failures
    boundary = table[table["quantity"].isin(["variance", "token_cosine", "rank_residual"])]["layer"] - 1
    within = table[table["quantity"].isin(["layer_cosine", "branch_share"])]["layer"]
    layers = [*boundary, *within]
    if layers:
        return max(0, int(min(layers)))
    matrices = table[table["quantity"] == "weight_grad_norm"]
    worst = matrices.sort_values("gate")["layer"]
    return None if worst.empty else int(worst.iloc[-1])


def _explanation(
    arch: Architecture,
    verification: Verification,
    measured: Probe,
    gaps: Sequence[Gap],
    norms_known: bool,
) -> Suspect | None:
    """The single change that restores agreement best, whose placement stays registered; None where none
    does."""
    best, least = None, float("inf")
    with PLACEMENTS.temporarily():
        for suspect in suspects(arch, first_departure(verification) or 0, norms_known):
            try:
                found = held(suspect.arch, predict_profiles(suspect.arch, "auto", False), measured, gaps)
            except SpannormError:  # the theory declines it
                continue
            misfit = float(found.worst()["gate"].pow(2).mean())
            if found.verdict != DISAGREES and misfit < least:
                best, least = (suspect, suspect.arch.definition), misfit
    if best is None:
        return None
    PLACEMENTS.add(best[1], replace=True)
    return best[0]
