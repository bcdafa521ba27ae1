"""Compute one cell of the atlas: the laws of a placement under a scaling rule, and their check."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import numpy as np

from ..base.errors import NoClosedForm, SpannormError
from ..bounds.intervals import bounds
from ..derivation.recurrence import Recurrence
from ..prediction.exchangeable import predict_forward
from ..prediction.profiles import LEAST_OPEN
from ..spec.architecture import Architecture
from .branch_gains import ONES, ends, require_degree
from .check import DEPTHS, mismatch
from .known import known, placed
from .learning_rates import learning_rates
from .records import Cell, Found, Share
from .stacks import Stacks, keeps_sizes
from .trend import fit


class _TooLong(BaseException):
    """The time limit of a cell has passed; no Exception, which sympy might catch and go on."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Interrupt what takes more CPU time; without effect outside the main thread, where no signal arrives."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not usable:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def compute(arch: Architecture, depths: Sequence[int], seconds: float) -> Cell:
    """Derive, check and predict one cell; what takes longer than ``seconds`` is reported, not awaited.
    Without ``depths`` there are laws alone."""
    try:
        with limited(seconds):
            recurrence = Recurrence.of(arch.placement, arch.scaling)
            if not depths:
                return Cell(arch, _laws(arch, recurrence)[0])
            return _compute(arch, recurrence, depths)
    except _TooLong:
        return Cell(arch, {}, problem=f"not computed: it took more than {seconds:g} s of CPU time")
    except ZeroDivisionError:
        return Cell(arch, {}, problem="not computed: a norm reads what is always zero")
    except (SpannormError, ArithmeticError) as error:
        return Cell(arch, {}, problem=f"not computed: {error}")


def _laws(arch: Architecture, recurrence: Recurrence) -> tuple[dict[str, Found], int, tuple[str, ...], bool]:
    """Laws and fits of each quantity, the stream that grows most, what could not be computed, and whether
    stacks of the branches' own gains are out of range."""
    real = None if keeps_sizes(recurrence) else Stacks(arch, aligned=True)
    if real is not None:
        require_degree(arch)
    found, stream, problems = known(recurrence, *ends(arch, real.sizes(DEPTHS[-1]) if real else ONES))
    own = Stacks(arch, aligned=False)
    for name in set(found) - {"identity"}:  # the skip path has no branch
        held = _held(found[name], real.logs(name, stream, DEPTHS)) if real else found[name]
        found[name] = placed(held, name, stream, own)
    return found, stream, problems, real is not None and not real.logs("forward", stream, DEPTHS)


def _compute(arch: Architecture, recurrence: Recurrence, depths: Sequence[int]) -> Cell:
    found, stream, problems, beyond = _laws(arch, recurrence)
    shares, declined, closed = _shares(arch, depths, stream)
    limits = _limits(arch.with_(depth=depths[0]), stream)
    problem = "; ".join(dict.fromkeys([*problems, *declined]))
    caveats = tuple(_caveats(arch, found, limits, closed, beyond))
    held = {name: f.law for name, f in found.items()}
    rates = learning_rates(recurrence, ends(arch)[0], held)
    return Cell(arch, found, stream, shares, limits, problem, caveats, rates)


def _held(found: Found, logs: Sequence[float]) -> Found:
    """A law of constant gains, where stacks of the branches' own gains have it too, whose ln f at the depths
    of the check are ``logs``; else what is fitted to these. Stacks that are out of range hold nothing."""
    if not logs:
        return found
    detail = "" if found.trend is None else mismatch(found.trend, DEPTHS, logs)
    if found.law is not None and not detail:
        return found
    reason = found.reason or f"derived for constant gains, and the branches' own are not: {detail}"
    return Found(None, reason, fit(DEPTHS, logs))


def _shares(
    arch: Architecture, depths: Sequence[int], stream: int
) -> tuple[dict[int, Share], list[str], list[int]]:
    """Shares by depth, why some are left out, and depths at which some attention is nearly a maximum."""
    found: dict[int, Share] = {}
    closed: list[int] = []
    for depth in depths:
        deep = arch.with_(depth=depth)
        try:
            prediction = predict_forward(deep)
        except SpannormError as error:
            return found, [f"no shares at L = {depth}: {error}"], closed
        key, profiles = str(stream), prediction.profiles
        cosines = profiles[key, "layer_cosine"]
        found[depth] = Share(
            float(profiles[key, "branch_share"][-1]),
            float(np.prod(cosines)),
            float(profiles[key, "token_cosine"][-1]),
        )
        if prediction.undecided.min() < LEAST_OPEN * arch.heads * arch.tokens:
            closed.append(depth)
    return found, [], closed


def _caveats(
    arch: Architecture,
    found: Mapping[str, Found],
    limits: Mapping[str, object],
    closed: Sequence[int],
    beyond: bool,
) -> Iterator[str]:
    """Stated limits of the theory that apply: refusals of the engine, and its doubts about its own answer;
    ``beyond`` says whether stacks of the branches' own gains are out of range."""
    iterated = [name for name in found if found[name].law is None]
    if iterated:
        yield f"no law of {', '.join(iterated)}: fitted up to L = {DEPTHS[-1]}"
    if any(branch.elementwise for branch in arch.block(arch.depth - 1).branches):
        yield "an element-wise function in a norm's place: no argument from degree one"
    if not arch.exchangeable:
        yield "values beside laws are of stacks without a mask and positions"
    if beyond:
        yield (
            "inputs of branches leave float64's range: laws hold their gains constant, and are not held "
            "against the branches' own"
        )
    if closed:
        yield (
            f"attention is nearly a maximum at L = {', '.join(map(str, closed))}: rare near ties carry the "
            "mean gradient"
        )
    if not limits:
        yield "no bound that holds for every token correlation"


def _limits(arch: Architecture, stream: int) -> dict[str, tuple[float, float]]:
    single = arch.definition.streams == 1
    try:
        found = bounds(arch, gradients=single)
    except (SpannormError, NoClosedForm):
        return {}
    result = {}
    wanted = [("forward", "variance", -1), ("gradient", "grad_variance", 0)]
    # of several streams, the atlas speaks of the gradient at the embedding, which is their sum
    for name, quantity, layer in wanted if single else wanted[:1]:
        if (str(stream), quantity) in found:
            low, high = found[str(stream), quantity]
            result[name] = float(low[layer]), float(high[layer])
    return result
