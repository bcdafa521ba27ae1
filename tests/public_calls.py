"""Every public function, called with one argument that may be anything."""

from __future__ import annotations

from collections.abc import Callable, Sized
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import nn

import spannorm_theory as st
from spannorm_theory.base.errors import SpannormError

TEXT = "span-norm unit depth=2 width=16 heads=2 tokens=4"
ARCH = st.Architecture.parse(TEXT)
CONFIG = {"model_type": "gemma2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
#: an embedding, two matrices, and a head: the least that has a stream
MODULE = nn.Sequential(nn.Embedding(5, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 5))
GAINS = {"sigma_a2": 1.0, "sigma_f2": 1.0, "omega_a2": 1.0, "omega_f2": 1.0}


def one_of_each(folder: Path) -> dict[str, Any]:
    """One result of each kind."""
    with ThreadPoolExecutor(1) as pool:
        swept = st.sweep(
            [ARCH, ARCH.with_(depth=3)],
            networks=2,
            executor=pool,
            store=folder,
            device="cpu",
            progress=False,
        )
    verified = st.verify(ARCH, networks=4, progress=False)
    return {
        "prediction": st.predict(ARCH),
        "ensemble": verified.ensemble,
        "verification": verified,
        "spectra": st.spectra(ARCH),
        "sweep": swept,
        "recursion": st.derive("span-norm"),
        "atlas": st.atlas("pre-norm", "unit"),
    }


def message_of(call: Callable[[], object]) -> str:
    """The message of a refusal; empty where the call has a result."""
    try:
        call()
    except SpannormError as error:
        return str(error)
    return ""


def calls(strange: Any, results: dict[str, Any], tmp_path: Path) -> list[Callable[[], object]]:
    """Calls with ``strange`` in the place of one argument; none of them computes for long."""
    given = "nope" if strange is None or (isinstance(strange, Sized) and not len(strange)) else strange
    target = tmp_path if isinstance(strange, str) else strange  # a text would be a file in this folder
    word = strange if isinstance(strange, str) else "nope"
    few = 7 if isinstance(strange, int) and strange > 100 else strange  # sizes that fit are no matter here
    plot, table, recursion = st.plot, results["prediction"], results["recursion"]
    ensemble, drawing = results["ensemble"], {"a": lambda ax: None}
    return [
        lambda: st.predict(strange),
        lambda: st.simulate(strange, networks=1),
        lambda: st.simulate(ARCH, networks=few),
        lambda: st.simulate(ARCH, networks=1, seed=strange),
        lambda: st.simulate(ARCH, networks=1, first=strange),
        lambda: st.simulate(ARCH, networks=1, device=strange),
        lambda: st.simulate(ARCH, networks=1, engine=strange),
        lambda: st.simulate(ARCH, networks=1, dtype=strange),
        lambda: st.verify(strange, networks=3, progress=False),
        lambda: st.verify(ARCH, networks=few, progress=False),
        lambda: st.verify(ARCH, networks=3, theory=strange, progress=False),
        lambda: st.module(strange),
        lambda: st.module(ARCH, seed=strange),
        lambda: st.module(ARCH, network=strange),
        lambda: st.module(ARCH, dtype=strange),
        lambda: st.module(ARCH, device=strange),
        lambda: st.module(ARCH, checkpointing=strange),
        lambda: st.first_step(strange),
        lambda: st.first_step(ARCH, strange, networks=1),
        lambda: st.first_step(ARCH, lr=strange, networks=1),
        lambda: st.first_step(ARCH, epsilon=strange, networks=1),
        lambda: st.first_step(ARCH, networks=few, progress=False),
        lambda: st.first_step(ARCH, networks=1, seed=strange),
        lambda: st.first_step(ARCH, networks=1, device=strange),
        lambda: st.verify_step(strange, networks=3, progress=False),
        lambda: st.verify_step(ARCH, networks=few, lr=-1),
        lambda: st.step_law(strange),
        lambda: st.step_law("pre-norm", strange),
        lambda: st.step_law("pre-norm", "unit", strange),
        lambda: st.step_exponents(strange),
        lambda: st.step_exponents(ARCH, strange),
        lambda: st.step_exponents(ARCH, depths=strange),
        lambda: st.step_exponents(ARCH, depths=(few, 2)),
        lambda: st.compare(strange, laws=False),
        lambda: st.compare(ARCH, laws=False, like=strange, width="x"),
        lambda: st.compare(ARCH, laws=strange, sort_by=strange),
        lambda: st.compare(ARCH, laws=False, networks=few, seed=strange, theory="x"),
        lambda: st.reduces_to(strange),
        lambda: st.reduces_to("pre-norm", strange),
        lambda: st.value_at(strange, "variance"),
        lambda: st.value_at(table, strange),
        lambda: st.value_at(table, "variance", layer=strange),
        lambda: st.value_at(table, "variance", stream=strange),
        lambda: st.value_at(table, "variance", depth=strange),
        lambda: st.depth_where(table, "variance", above=strange),
        lambda: st.fixed_points(strange),
        lambda: st.fixed_points(ARCH, layer=strange),
        lambda: st.spectra(strange),
        lambda: st.spectra(ARCH, layers=strange),
        lambda: st.spectra(ARCH, networks=few),
        lambda: st.spectra(ARCH, device=strange),
        lambda: st.from_config(strange),
        lambda: st.from_config(CONFIG, strange),
        lambda: st.from_config({**CONFIG, "hidden_size": strange}),
        lambda: st.from_config({**CONFIG, "layer_types": strange, "rope_parameters": strange}),
        lambda: st.from_config({**CONFIG, "model_type": strange}),
        lambda: st.model(strange),
        lambda: st.model("gpt2", strange),
        lambda: st.model("gpt2", heads=strange),
        lambda: st.published()[strange],
        lambda: st.probe(strange, networks=1, tokens=2, progress=False),
        lambda: st.probe(MODULE, strange, tokens=2, progress=False),
        lambda: st.probe(MODULE, blocks=strange, tokens=2, progress=False),
        lambda: st.probe(MODULE, loss=strange, tokens=2, progress=False),
        lambda: st.probe(MODULE, networks=strange, tokens="x"),
        lambda: st.probe(MODULE, seed=strange, tokens=2, progress=False),
        lambda: st.probe(MODULE, sequences=few, tokens=2, progress=False),
        lambda: st.probe(MODULE, training=strange, tokens=2, progress=False),
        lambda: st.identify(strange, networks=3, tokens=2, progress=False),
        lambda: st.identify(lambda seed: MODULE, networks=few, tokens=2, progress=False),
        lambda: st.identify(lambda seed: strange, networks=3, tokens=2, progress=False),
        lambda: st.read(strange),
        lambda: st.read(MODULE, tokens=few),
        lambda: st.read(MODULE, inputs=strange, tokens=2),
        lambda: st.read(MODULE, blocks=strange, tokens=2),
        lambda: st.read(MODULE, placement=strange, tokens=2),
        lambda: st.derive(strange),
        lambda: st.derive("pre-norm", strange),
        lambda: st.derive("pre-norm", activation=strange),
        lambda: recursion.iterate(few, **GAINS),
        lambda: recursion.iterate(1, **{**GAINS, "sigma_a2": strange}),
        lambda: recursion.iterate(1, **GAINS, q0=strange),
        lambda: recursion.identity_gain(strange),
        lambda: recursion.moment_at(strange, 1),
        lambda: recursion.asymptotics()[word],
        lambda: recursion.closed_form()[word],
        lambda: ARCH.block(strange),
        lambda: st.atlas(strange, "unit", depths=few),
        lambda: st.atlas("pre-norm", "unit", networks=few, seconds="x"),
        lambda: st.sweep(strange, store=tmp_path / "s", networks="x"),
        lambda: st.sweep(ARCH, store=tmp_path / "s", networks=few, chunk=7),
        lambda: st.sweep(ARCH, store=strange, workers="x"),
        lambda: st.sweep(ARCH, store=tmp_path / "s", seed=strange, networks="x"),
        lambda: st.sweep(ARCH, store=tmp_path / "s", imports=strange, networks="x"),
        lambda: st.sweep(ARCH, store=tmp_path / "s", executor="x", device=strange),
        lambda: st.Store(strange),
        lambda: st.Store(results["sweep"].store.path).merge(strange),
        lambda: st.claims(given),
        lambda: st.claims(path=given),
        lambda: st.claims("nope", device=strange),
        lambda: st.write_report(strange, networks="x"),
        lambda: st.write_report(tmp_path / "r", placements=given, depth="x"),
        lambda: st.write_explorer(strange, runtime=3),  # type: ignore[arg-type]
        lambda: st.write_explorer(__file__, runtime=strange),
        lambda: st.write_explorer(__file__, documentation=strange),
        lambda: st.write_figures(tmp_path / "f", style=strange, depth="x"),
        lambda: st.write_figures(strange, networks="x"),
        lambda: st.write_figures(tmp_path / "f", networks=few, placements="nope"),
        lambda: st.write_latex(strange, tmp_path / "t.tex"),
        lambda: st.write_latex(table, target),
        lambda: st.write_latex(table, tmp_path / "t.tex", strange),
        lambda: st.placements()[strange],
        lambda: st.scalings()[strange],
        lambda: st.activations()[strange],
        lambda: plot.style(strange).__exit__(),
        lambda: plot.placement_style(strange),
        lambda: plot.block_diagram(strange),
        lambda: plot.block_diagram("pre-norm", scaling=strange),
        lambda: plot.block_diagram("pre-norm", ax=strange),
        lambda: plot.depth_profile(strange, "variance"),
        lambda: plot.depth_profile(table, strange),
        lambda: plot.depth_profile(table, "variance", stream=strange),
        lambda: plot.depth_profile(table, "variance", per=strange),
        lambda: plot.depth_profile(table, "variance", ax=strange),
        lambda: plot.rank_collapse(strange),
        lambda: plot.weight_gradients(strange),
        lambda: plot.weight_gradients(table, width=strange),
        lambda: plot.comparison(strange, "variance"),
        lambda: plot.comparison(table, strange),
        lambda: plot.comparison(table, "variance", strange),
        lambda: plot.comparison(table, "variance", height=strange),
        lambda: plot.residuals(strange),
        lambda: plot.distribution(strange),
        lambda: plot.distribution(ensemble, strange),
        lambda: plot.distribution(ensemble, layer=strange),
        lambda: plot.distribution(ensemble, stream=strange),
        lambda: plot.distribution(ensemble, ax=strange),
        lambda: plot.spectrum(strange),
        lambda: plot.spectrum(results["spectra"], stream=strange),
        lambda: plot.spectrum(results["spectra"], ax=strange),
        lambda: plot.phase_diagram(strange, "depth", "width", "variance"),
        lambda: plot.phase_diagram(table, strange, "width", "variance"),
        lambda: plot.phase_diagram(table, "depth", "width", strange),
        lambda: plot.phase_map(strange, "depth", "width", "variance"),
        lambda: plot.phase_map(table, "depth", "width", strange),
        lambda: plot.branch_map(strange),
        lambda: plot.branch_map(ARCH, strange),
        lambda: plot.branch_map(ARCH, depths=strange),
        lambda: plot.branch_map(ARCH, scales=strange),
        lambda: plot.branch_map(ARCH, points=few, ax=strange),
        lambda: plot.finite_width(strange),
        lambda: plot.against_law(strange, "variance", {}),
        lambda: plot.against_law(table, strange, {}),
        lambda: plot.against_law(table, "variance", strange),
        lambda: plot.caption(strange),
        lambda: plot.caption(table, strange),
        lambda: plot.caption(table, figure=strange),
        lambda: plot.panels(strange),
        lambda: plot.panels(drawing, columns=few),
        lambda: plot.panels(drawing, height=strange, share=strange),
        lambda: plot.overview(strange),
        lambda: plot.overview(ARCH, networks=few, seed="x"),
        lambda: plot.save(strange, tmp_path / "f.png"),
        lambda: plot.save(plot.block_diagram("pre-norm"), tmp_path / "f.png", strange),
    ]
