"""Signal and gradient propagation in deep transformers, for every placement of the norms.

    import spannorm_theory as st

    st.derive("span-norm")                              the recursion, closed forms, laws
    st.predict(arch), st.simulate(arch), st.verify(arch)   numbers, Monte Carlo, and their comparison
    st.sweep(archs)                                     Monte Carlo of many, kept in a store

Names are imported when first used, so that importing the package costs nothing and torch is loaded
only by what simulates.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: public name -> module that defines it
_HOME = {
    "Architecture": "architecture",
    "placement": "definitions.placements",
    "scaling": "definitions.scalings",
    "Multipliers": "definitions.scalings",
    "activation": "components.activations",
    "derive": "theory.recursion",
    "Recursion": "theory.recursion",
    "predict": "theory.predict",
    "simulate": "montecarlo.ensemble",
    "Ensemble": "montecarlo.ensemble",
    "verify": "verification",
    "Verification": "verification",
    "spectra": "singular",
    "claims": "claimed.run",
    "ClaimsReport": "claimed.run",
    "write_report": "report",
    "sweep": "sweeps.run",
    "Sweep": "sweeps.run",
    "Store": "sweeps.store",
    "atlas": "atlases",
    "Atlas": "atlases",
    "write_figures": "figures",
    "write_latex": "latex_table",
    "placements": "catalogue",
    "scalings": "catalogue",
    "activations": "catalogue",
}

if TYPE_CHECKING:
    from .architecture import Architecture as Architecture
    from .atlases import Atlas as Atlas
    from .atlases import atlas as atlas
    from .catalogue import activations as activations
    from .catalogue import placements as placements
    from .catalogue import scalings as scalings
    from .claimed.run import ClaimsReport as ClaimsReport
    from .claimed.run import claims as claims
    from .components.activations import activation as activation
    from .definitions.placements import placement as placement
    from .definitions.scalings import Multipliers as Multipliers
    from .definitions.scalings import scaling as scaling
    from .figures import write_figures as write_figures
    from .latex_table import write_latex as write_latex
    from .montecarlo.ensemble import Ensemble as Ensemble
    from .montecarlo.ensemble import simulate as simulate
    from .report import write_report as write_report
    from .singular import spectra as spectra
    from .sweeps.run import Sweep as Sweep
    from .sweeps.run import sweep as sweep
    from .sweeps.store import Store as Store
    from .theory.predict import predict as predict
    from .theory.recursion import Recursion as Recursion
    from .theory.recursion import derive as derive
    from .verification import Verification as Verification
    from .verification import verify as verify


def __getattr__(name: str) -> Any:
    if name == "plot":
        return import_module(".plot", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, "plot", "__version__"])
