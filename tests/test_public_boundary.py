"""Wrong kinds of argument in public functions: taken where there is one reading, else refused in one line."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from public_calls import ARCH, GAINS, TEXT, calls, message_of

import spannorm_theory as st
from spannorm_theory.base.errors import InputError, SpannormError, UnknownNameError


def refused(call: Callable[[], object]) -> str:
    """The message of a refusal, which is one line of a few words and the names that there are."""
    message = message_of(call)
    assert message
    assert "\n" not in message
    return message


# --- what is taken --------------------------------------------------------------------------------


def test_the_text_form_of_an_architecture_stands_for_it(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(st.predict(TEXT), st.predict(ARCH))
    assert st.simulate(TEXT, networks=2).arch == ARCH
    assert st.verify(TEXT, networks=3, progress=False).arch == ARCH
    pd.testing.assert_frame_equal(st.spectra(TEXT), st.spectra(ARCH))
    assert st.plot.overview(TEXT).axes
    with ThreadPoolExecutor(1) as pool:
        for archs in (TEXT, [TEXT], ARCH):
            swept = st.sweep(archs, networks=2, executor=pool, store=tmp_path / "s", progress=False)
            assert swept.specification.archs == (str(ARCH),)


def test_numpys_integers_are_integers(tmp_path: Path) -> None:
    plain = st.simulate(ARCH, networks=2, seed=3, first=1)
    numpy = st.simulate(ARCH, networks=np.int64(2), seed=np.uint8(3), first=np.int32(1))
    pd.testing.assert_frame_equal(plain.table, numpy.table)
    assert type(numpy.seed) is int
    assert st.verify(ARCH, networks=np.int16(3), progress=False).ensemble.networks == 3
    pd.testing.assert_frame_equal(
        st.spectra(ARCH, layers=np.arange(2), networks=np.int64(2)),
        st.spectra(ARCH, layers=[0, 1], networks=2),
    )
    recursion = st.derive("pre-norm")
    pd.testing.assert_frame_equal(
        recursion.iterate(np.int64(3), **GAINS),
        recursion.iterate(3, **{k: np.float32(v) for k, v in GAINS.items()}),
    )
    with ThreadPoolExecutor(1) as pool:
        grid = {"placement": "pre-norm", "depth": range(1, 3), "width": 16, "heads": 2, "tokens": 4}
        swept = st.sweep(
            grid,
            networks=np.int64(2),
            seed=np.array([1, 2]),
            chunk=np.int8(1),
            executor=pool,
            store=tmp_path / "s",
            progress=False,
        )
    assert swept.specification.seeds == (1, 2)
    assert len(swept.cells) == 8


def test_a_device_stands_for_its_name(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert st.simulate(ARCH, networks=2, device=cpu).device == "cpu"
    assert st.verify(ARCH, networks=3, device=torch.device("cpu", 0), progress=False).ensemble.device == "cpu"
    assert len(st.spectra(ARCH, networks=2, device=cpu))
    with ThreadPoolExecutor(1) as pool:
        swept = st.sweep(ARCH, networks=1, device=cpu, executor=pool, store=tmp_path / "s", progress=False)
    assert swept.specification.device == "cpu"


def test_one_name_stands_for_a_list_of_one(results: dict[str, Any], tmp_path: Path) -> None:
    assert [cell.arch.placement for cell in st.atlas("pre-norm", "unit").cells] == ["pre-norm"]
    assert set(st.spectra(ARCH, layers=1)["layer"]) == {1}
    assert len(st.plot.comparison(results["prediction"], "variance", "unit").axes) == 1
    tables = tmp_path / "one.tex"
    st.write_latex(results["prediction"], tables, "value")
    assert "value" in tables.read_text()
    with pytest.raises(UnknownNameError, match="unknown claim 'nope'"):
        st.claims("nope")


def test_every_result_with_a_table_is_written_as_latex(results: dict[str, Any], tmp_path: Path) -> None:
    for name in ("ensemble", "sweep", "atlas"):
        text = st.write_latex(results[name], tmp_path / "table.tex").read_text()
        assert text.count(r"\\") == 1 + len(results[name].table), name


def test_a_stream_goes_by_its_number_too(results: dict[str, Any]) -> None:
    for stream in (0, np.int64(0), "0"):
        assert st.plot.depth_profile(results["prediction"], "variance", stream=stream).lines
        assert st.plot.spectrum(results["spectra"], stream=stream).lines
        assert st.plot.distribution(results["ensemble"], "variance", stream=stream).lines


def test_axes_are_saved_as_their_figure(results: dict[str, Any], tmp_path: Path) -> None:
    axes = st.plot.block_diagram("pre-norm")
    assert st.plot.save(axes, tmp_path / "axes.png").read_bytes() == (
        st.plot.save(axes.figure, tmp_path / "figure.png").read_bytes()
    )


# --- what is refused ------------------------------------------------------------------------------

STRANGE = (None, 3, -1, 2.5, float("nan"), True, "", "nope", b"x", object(), [], [None], {}, {3: 4}, ARCH)


@pytest.mark.parametrize("strange", STRANGE, ids=lambda x: type(x).__name__ if type(x) is object else repr(x))
def test_strange_arguments_are_refused_in_one_line_or_used(
    strange: Any, results: dict[str, Any], tmp_path: Path
) -> None:
    for call in calls(strange, results, tmp_path):
        message = message_of(call)
        assert "\n" not in message


@pytest.mark.parametrize("kind", ["ensemble", "verification", "sweep", "recursion", "atlas", "prediction"])
def test_a_figure_of_another_kind_of_result_says_what_it_is_drawn_from(
    kind: str, results: dict[str, Any]
) -> None:
    wrong = results[kind]
    if kind != "ensemble":
        assert "Ensemble that simulate returns" in refused(lambda: st.plot.distribution(wrong))
    if kind != "verification":
        assert "Verification that verify returns" in refused(lambda: st.plot.residuals([wrong]))
    assert "what spectra returns" in refused(lambda: st.plot.spectrum(wrong))
    if kind in ("recursion", "atlas"):
        assert "what predict, simulate, verify or sweep return" in refused(
            lambda: st.plot.depth_profile(wrong, "variance")
        )
    refused(lambda: st.plot.phase_diagram(wrong, "depth", "nope", "variance"))


def test_messages_say_what_is_wanted_and_what_came(results: dict[str, Any]) -> None:
    table = results["prediction"]
    for call, words in (
        (lambda: st.predict(table), "expected an Architecture or its text form, such as .*got DataFrame"),
        (
            lambda: st.verify(ARCH, networks=4, theory=table),
            "expected an Architecture or its text form, such as .*got DataFrame",
        ),
        (lambda: st.derive(ARCH), "pass its placement 'span-norm' and its scaling 'unit'"),
        (lambda: st.simulate(ARCH, seed=2**63), "seed must be an integer from 0 to 9223372036854775807, got"),
        (lambda: st.simulate(ARCH, device="mps"), "device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>'"),
        (lambda: st.simulate(ARCH, engine=None), "unknown engine None; known: auto, explicit, implicit"),
        (lambda: st.spectra(ARCH, networks=2.5), "networks must be an integer of at least 0, got 2.5"),
        (lambda: st.spectra(ARCH, layers=[3]), "layers must be an integer from 0 to 2, got 3"),
        (lambda: st.derive("pre-norm").asymptotics()["identity gain"], "did you mean identity_gain"),
        (lambda: st.write_latex([results["ensemble"]], "t.tex"), "Verification that verify returns, got Ens"),
        (
            lambda: st.plot.depth_profile(table, "variance", stream=7),
            "unknown stream of variance '7'; known: 0",
        ),
    ):
        with pytest.raises(InputError, match=words):
            call()  # type: ignore[no-untyped-call]


def test_the_theory_of_another_depth_is_refused() -> None:
    other = ARCH.with_(depth=3)
    with pytest.raises(InputError, match="belongs to another depth"):
        st.verify(ARCH, networks=3, theory=other, progress=False)


def test_hostile_values_are_cut_to_one_short_line() -> None:
    class Loud:
        def __repr__(self) -> str:
            return "line\n" * 10_000

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    for hostile in (Loud(), Broken(), "x\ny" * 10_000, [0] * 10**6, {"a": Loud()}):
        for call in (
            lambda value=hostile: st.simulate(ARCH, networks=value),
            lambda value=hostile: st.simulate(ARCH, device=value),
            lambda value=hostile: st.simulate(ARCH, dtype=value),
            lambda value=hostile: st.plot.depth_profile(st.predict(ARCH), "variance", per=value),
        ):
            assert len(refused(call)) < 250


# --- errors and names -----------------------------------------------------------------------------


def test_errors_travel_between_processes() -> None:
    for error in (
        UnknownNameError("placement", "prenorm", ["pre-norm"]),
        InputError("no"),
        SpannormError("no"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)


def test_registries_and_laws_are_mappings() -> None:
    laws = st.derive("pre-norm").asymptotics()
    for mapping in (st.placements(), st.scalings(), st.activations(), laws):
        assert mapping.get("nope") is None
        assert "nope" not in mapping
        with pytest.raises(KeyError):
            mapping["nope"]
    again = pickle.loads(pickle.dumps(laws))
    assert again == laws
    assert again.kind == "law"


def test_depths_of_a_sweep_look_different(results: dict[str, Any]) -> None:
    swept = results["sweep"]
    other = (
        st.predict(ARCH.with_(placement="pre-norm")),
        st.predict(ARCH.with_(placement="pre-norm", depth=3)),
    )
    axes = st.plot.depth_profile([swept, *other], "variance")
    points = [line for line in axes.lines if line.get_gid() == "monte-carlo"]
    lines = [line for line in axes.lines if line.get_gid() == "theory"]
    for drawn in (points, lines):
        assert len(drawn) == 2
        assert len({line.get_color() for line in drawn}) == 2
    assert len({str(line._dash_pattern) for line in lines}) == 2  # type: ignore[attr-defined]
    single = st.plot.depth_profile(swept, "variance", per="width").lines
    assert len({line.get_color() for line in single if line.get_gid() == "monte-carlo"}) == 2
