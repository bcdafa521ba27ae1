"""A cell of the atlas: its laws, their check, the shares of its stacks, and its caveats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..asymptotics.growth import Growth
from ..spec.architecture import Architecture
from .learning_rates import Rates
from .trend import Trend

#: what pages show a law of; the gradient is that at the embedding for a unit gradient at the model's output
SHOWN = ("forward", "gradient", "collapse", "identity")

#: what the atlas gives a law for: beside these, of one stream, gamma_0/gamma_L
QUANTITIES = ("forward", "ratio", "gradient", "collapse", "identity")

OK, LATER, FAILED, UNCHECKED = "ok", "later", "FAIL", ""


@dataclass(frozen=True)
class Found:
    """The large-depth behaviour of one quantity.

    Attributes:
        law: derived, or None.
        reason: why there is none.
        trend: at aligned tokens; of the law, or fitted to the iterated step.
        independent: the law at independent tokens; None where nothing was derived.
        status: "ok": the iterated step agrees; "later": it cannot be told, since the law sets in beyond the
            depths of the check; "FAIL": it does not agree; "": there is no law, or no iteration, to check.
        at: ln f by the pair theory, for the architecture's own tokens, by depth (``LADDER``).
        since: the least depth of these from which on the law's shape holds to 10 %; None where it does not.
        late: the law sets in beyond the depths of the check (a small input, or gains of another
            size, may have made it checkable).
        detail: what disagrees.
    """

    law: Growth | None
    reason: str
    trend: Trend | None
    independent: Trend | None = None
    status: str = UNCHECKED
    late: bool = False
    detail: str = ""
    at: Mapping[int, float] = field(default_factory=dict)
    since: int | None = None

    @property
    def order(self) -> str:
        """The law without its constant, in symbols; empty where there is none."""
        return "" if self.law is None else str(self.law.shape)


@dataclass(frozen=True)
class Share:
    """The pair theory of a stack of one depth, for the stream that grows most.

    Attributes:
        update: second moment of the last block's update over that of its input.
        cosine: between the stream's input and output: the skip path's share of the output.
        token_cosine: rho of the output.
    """

    update: float
    cosine: float
    token_cosine: float


@dataclass(frozen=True)
class Cell:
    """A placement under a scaling rule.

    Attributes:
        stream: the stream that grows most, which forward, collapse and shares speak of.
        shares: by depth; without those that the pair theory declines.
        limits: (low, high) of the forward variance at l = L and of the gradient variance at l = 0 for a
            unit loss gradient, as natural logarithms, at the first depth; absent where no bound is known.
        problem: what could not be computed, and why.
        caveats: where a stated limit of the theory applies, in short sentences.
        rates: learning rates that keep the first step's size.
        monte_carlo: verdict of a verification; empty where none was run.
    """

    arch: Architecture
    found: Mapping[str, Found]
    stream: int = 0
    shares: Mapping[int, Share] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    problem: str = ""
    caveats: tuple[str, ...] = ()
    rates: Rates = field(default_factory=Rates)
    monte_carlo: str = ""

    @property
    def checked(self) -> str:
        """Over all laws: "ok", "later", "FAIL" with what fails, or "no law" where there is none."""
        if not self.found:
            return FAILED
        status = {name: f.status for name, f in self.found.items()}
        failed = [name for name, s in status.items() if s == FAILED]
        if failed:
            return f"{FAILED}: {', '.join(failed)}"
        if LATER in status.values():
            return LATER
        return OK if OK in status.values() else "no law"

    @property
    def failed(self) -> bool:
        """Whether a law or Monte Carlo disagrees, or the cell could not be computed."""
        return self.checked.startswith(FAILED) or self.monte_carlo.startswith(FAILED)
