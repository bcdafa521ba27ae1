"""Signal and gradient propagation in deep transformers, for every placement of the norms.

    import spannorm_theory as st

    st.derive("span-norm")                              the recursion, closed forms, laws
    st.predict(arch), st.simulate(arch), st.verify(arch)   numbers, Monte Carlo, and their comparison
    st.sweep(archs)                                     Monte Carlo of many, kept in a store
    st.model("llama-3-8b"), st.from_config(config)      architectures of models that people train

Names are imported when first used, so that importing the package costs nothing and torch is loaded
only by what simulates.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

#: public name -> module that defines it
_HOME = {
    "Architecture": "spec.architecture",
    "placement": "spec.placements",
    "scaling": "spec.scalings",
    "Multipliers": "spec.scalings",
    "activation": "gaussian.activations",
    "derive": "render.recursion",
    "Recursion": "render.recursion",
    "predict": "prediction.predict",
    "expected": "prediction.expected",
    "fixed_points": "prediction.fixed_points",
    "FixedPoint": "prediction.fixed_points",
    "simulate": "montecarlo.ensemble",
    "Ensemble": "montecarlo.ensemble",
    "first_step": "first_steps.first_step",
    "verify_step": "first_steps.verify_step",
    "step_law": "first_steps.laws",
    "StepLaw": "first_steps.laws",
    "step_exponents": "first_steps.exponents",
    "tangent_kernel": "first_steps.tangent_kernel",
    "module": "modules.module",
    "Transformer": "modules.transformer",
    "verify": "verification.verification",
    "Verification": "verification.outcome",
    "spectra": "verification.spectra",
    "probe": "auditing.probe",
    "Probe": "auditing.probe",
    "identify": "auditing.identify",
    "audit": "auditing.audit",
    "Audit": "auditing.audited",
    "Identification": "auditing.identify",
    "read": "auditing.read",
    "Reading": "auditing.read",
    "compare": "comparing",
    "Comparison": "comparing",
    "reduces_to": "moments.reductions",
    "value_at": "base.lookups",
    "depth_where": "base.lookups",
    "claims": "literature.run",
    "ClaimsReport": "literature.run",
    "write_report": "report",
    "sweep": "sweeps.run",
    "Sweep": "sweeps.run",
    "Store": "sweeps.store.store",
    "atlas": "atlases",
    "Atlas": "atlases",
    "write_figures": "report.figure_set",
    "write_explorer": "explorer.write",
    "write_latex": "render.latex_table",
    "from_config": "models.reader",
    "model": "models.registry",
    "published": "models.registry",
    "Model": "models.model",
    "Gap": "models.model",
    "placements": "spec.catalogue",
    "scalings": "spec.catalogue",
    "activations": "spec.catalogue",
    "SpannormError": "base.errors",
}

if TYPE_CHECKING:
    from .atlases import Atlas as Atlas
    from .atlases import atlas as atlas
    from .auditing.audit import audit as audit
    from .auditing.audited import Audit as Audit
    from .auditing.identify import Identification as Identification
    from .auditing.identify import identify as identify
    from .auditing.probe import Probe as Probe
    from .auditing.probe import probe as probe
    from .auditing.read import Reading as Reading
    from .auditing.read import read as read
    from .base.errors import SpannormError as SpannormError
    from .base.lookups import depth_where as depth_where
    from .base.lookups import value_at as value_at
    from .comparing import Comparison as Comparison
    from .comparing import compare as compare
    from .explorer.write import write_explorer as write_explorer
    from .first_steps.exponents import step_exponents as step_exponents
    from .first_steps.first_step import first_step as first_step
    from .first_steps.laws import StepLaw as StepLaw
    from .first_steps.laws import step_law as step_law
    from .first_steps.tangent_kernel import tangent_kernel as tangent_kernel
    from .first_steps.verify_step import verify_step as verify_step
    from .gaussian.activations import activation as activation
    from .literature.run import ClaimsReport as ClaimsReport
    from .literature.run import claims as claims
    from .models.model import Gap as Gap
    from .models.model import Model as Model
    from .models.reader import from_config as from_config
    from .models.registry import model as model
    from .models.registry import published as published
    from .modules.module import module as module
    from .modules.transformer import Transformer as Transformer
    from .moments.reductions import reduces_to as reduces_to
    from .montecarlo.ensemble import Ensemble as Ensemble
    from .montecarlo.ensemble import simulate as simulate
    from .prediction.expected import expected as expected
    from .prediction.fixed_points import FixedPoint as FixedPoint
    from .prediction.fixed_points import fixed_points as fixed_points
    from .prediction.predict import predict as predict
    from .render.latex_table import write_latex as write_latex
    from .render.recursion import Recursion as Recursion
    from .render.recursion import derive as derive
    from .report import write_report as write_report
    from .report.figure_set import write_figures as write_figures
    from .spec.architecture import Architecture as Architecture
    from .spec.catalogue import activations as activations
    from .spec.catalogue import placements as placements
    from .spec.catalogue import scalings as scalings
    from .spec.placements import placement as placement
    from .spec.scalings import Multipliers as Multipliers
    from .spec.scalings import scaling as scaling
    from .sweeps.run import Sweep as Sweep
    from .sweeps.run import sweep as sweep
    from .sweeps.store.store import Store as Store
    from .verification.outcome import Verification as Verification
    from .verification.spectra import spectra as spectra
    from .verification.verification import verify as verify


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
