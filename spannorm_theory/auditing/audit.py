"""An audit: a user's module read, measured, predicted, and what departs from the expected named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from ..base import arguments
from ..base.errors import InputError, SpannormError
from ..first_steps.optimisers import Optimiser
from ..first_steps.optimisers import optimiser as optimiser_of
from ..first_steps.rates import rates_of
from ..models.model import Model
from ..prediction.predict import predict_profiles
from ..spec.architecture import Architecture
from ..spec.scaling import WEIGHTS
from ..verification.outcome import DISAGREES
from .audited import UNSTATED, Audit
from .deviation import Deviation
from .deviations import as_found, deviations, not_shown, undescribed
from .draws import DRAWS, EQUAL
from .expectation import expectation, stated
from .explanation import explanation
from .facts import OTHER_NORMS
from .identify import held, identified
from .networks import built, require_buildable
from .norm_deviations import NormsFound, norms_found
from .probe import Probe, probe
from .probed import require_probed
from .read import NOT_DRAWN, Reading, read
from .scheme import restated
from .step_check import step_check


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
    norms = norms_found(reading.called, arch, {gap.feature for gap in reading.gaps})
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
    suspect = explanation(as_it_is, verification, measured, gaps, known) if open_question else None
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
