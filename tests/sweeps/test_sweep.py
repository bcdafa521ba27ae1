"""What a sweep computes, keeps, retries and prints."""

import json
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from helpers import rounded
from measures import deadly, draw, failing

import spannorm_theory as st
from spannorm_theory.base.errors import InputError, StoreError, UnknownNameError
from spannorm_theory.cli.main import main
from spannorm_theory.report import phase_presets as presets
from spannorm_theory.sweeps.cells import grid, specify
from spannorm_theory.sweeps.drive import ATTEMPTS
from spannorm_theory.sweeps.run import run
from spannorm_theory.sweeps.worker import Task, run_task, simulate_cells

SMALL = {"depth": 2, "width": 16, "heads": 2, "tokens": 4}
ARCHS = {"placement": ["pre-norm", "post-norm"], **SMALL}


@pytest.fixture
def one():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def close(left, right):
    for column in left.columns:
        if left[column].dtype.kind == "f":
            np.testing.assert_allclose(left[column], right[column], rtol=1e-9, atol=1e-12, err_msg=column)
        else:
            assert (left[column] == right[column]).all(), column


@pytest.mark.exact
def test_a_sweep_of_chunks_is_the_simulation_of_all_networks(tmp_path, one):
    result = st.sweep(
        ARCHS, networks=12, chunk=4, executor=one, store=tmp_path / "s", seed=7, device="cpu", progress=False
    )
    assert result.passed
    for arch in grid(ARCHS):
        expected = st.simulate(arch, networks=12, seed=7, device="cpu", progress=False).table
        found = result.table[result.table["architecture"] == str(arch)].reset_index(drop=True)
        close(expected, found[expected.columns])
    assert (result.table["networks"] == 12).all()


@pytest.mark.exact
def test_more_networks_and_seeds_join_what_is_there(tmp_path, one):
    options = {"chunk": 2, "executor": one, "store": tmp_path / "s", "device": "cpu", "progress": False}
    arch = st.Architecture("pre-norm", **SMALL)
    assert st.sweep([arch], 2, **options).computed == 1
    more = st.sweep([arch], 4, seed=[0, 1], **options)
    assert (more.skipped, more.computed) == (1, 3)
    both = [st.simulate(arch, networks=4, seed=seed, device="cpu", progress=False) for seed in (0, 1)]
    sample = np.concatenate([ensemble.samples["0", "token_cosine"] for ensemble in both])
    rows = more.table[more.table["quantity"] == "token_cosine"]
    np.testing.assert_allclose(rows["value"], sample.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(rows["se"], sample.std(axis=0, ddof=1) / np.sqrt(8), rtol=1e-9, atol=1e-12)
    assert (more.table["networks"] == 8).all()


@pytest.mark.exact
def test_cells_measured_at_once_are_the_cells_measured_apart(tmp_path):
    """The path of a GPU, on the CPU."""
    spec = specify(grid(ARCHS), networks=8, chunk=2, device="cpu")
    calls = []

    def measure(cells):
        calls.append(len(cells))
        return simulate_cells(cells)

    tables = []
    for fuse in (True, False):
        with ThreadPoolExecutor(1) as pool:
            store = run(spec, tmp_path / str(fuse), pool, measure=draw, progress=False).store
        for cell in spec.cells():
            store.cell_path(cell.key).unlink()
        outcomes = run_task(Task(str(store.path), tuple(spec.cells()), (), fuse, measure))
        assert {outcome.state for outcome in outcomes} == {"done"}
        from spannorm_theory.sweeps.store.export import sweep_table

        tables.append(sweep_table(store, spec.cells()))
    assert calls == [4, 4] + [1] * 8
    close(*tables)


def test_a_failing_cell_is_recorded_and_the_rest_goes_on(tmp_path, one, monkeypatch):
    monkeypatch.setenv("SWEEP_MENDED", str(tmp_path / "mended"))
    spec = specify(grid(ARCHS), networks=8, chunk=4, device="cpu")

    def again(**options):
        return run(spec, tmp_path / "s", one, measure=failing, progress=False, **options)

    result = again()
    assert not result.passed
    assert (result.computed, len(result.failures)) == (2, 2)
    assert {failure.error for failure in result.failures} == {"RuntimeError: no such luck"}
    assert "Traceback" in result.failures[0].details
    assert "2 failed\nFAIL post-norm" in result.summary()
    assert result.store.status().failed == 2
    (tmp_path / "mended").touch()
    assert again().computed == 0
    result = again(retry_failed=True)
    assert (result.computed, result.passed) == (2, True)
    assert result.store.status().failed == 0


def test_one_bad_cell_among_cells_measured_at_once_fails_alone(tmp_path, one):
    def measure(cells):
        if any(cell.first == 2 for cell in cells):
            raise ValueError("two")
        return draw(cells)

    spec = specify([st.Architecture("pre-norm", **SMALL)], networks=8, chunk=2, device="cpu")
    run(spec, tmp_path / "s", one, measure=draw, progress=False)
    for cell in spec.cells():
        (tmp_path / "s" / "cells" / f"{cell.key}.parquet").unlink()
    outcomes = run_task(Task(str(tmp_path / "s"), tuple(spec.cells()), (), True, measure))
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done", "done"]


def test_a_deadly_cell_fails_alone_and_the_pool_is_rebuilt(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_LOG", str(tmp_path / "log"))
    archs = grid({**ARCHS, "placement": "pre-norm", "depth": [1, 2, 3, 4, 5]})
    spec = specify(archs, networks=4, device="cpu")
    result = run(spec, tmp_path / "s", workers=2, measure=deadly, progress=False)
    assert result.computed == 4
    (failure,) = result.failures
    assert "depth=3" in failure.cell.arch
    assert failure.error == f"its worker died (killed, or out of memory), {ATTEMPTS} times"
    starts = (tmp_path / "log").read_text().split()[1::2]
    assert starts.count(failure.cell.key) <= ATTEMPTS + 1
    assert len(starts) - starts.count(failure.cell.key) <= 4 + 1


def test_an_executor_that_breaks_ends_the_sweep_with_one_error(tmp_path, one):
    class Broken(ThreadPoolExecutor):
        def submit(self, *arguments):
            raise BrokenProcessPool("gone")

    spec = specify(grid(ARCHS), networks=4, device="cpu")
    with pytest.raises(StoreError, match=r"executor ended .*gone"):
        run(spec, tmp_path / "s", Broken(), measure=draw, progress=False)
    assert run(spec, tmp_path / "s", one, measure=draw, progress=False).computed == 2


def test_an_executor_that_loses_answers_is_asked_again(tmp_path):
    class Forgetful(ThreadPoolExecutor):
        count = 0

        def submit(self, function, *arguments):
            Forgetful.count += 1
            if Forgetful.count in (1, 3):
                return super().submit(os.fspath, 3)  # a TypeError in place of an answer
            return super().submit(function, *arguments)

    spec = specify(grid(ARCHS), networks=8, chunk=4, device="cpu")
    with Forgetful(1) as pool:
        assert run(spec, tmp_path / "s", pool, measure=draw, progress=False).computed == 4


def test_arguments_that_cannot_be_used(tmp_path):
    archs = [st.Architecture("pre-norm", **SMALL)]
    for options, message in (
        ({"bundle": 0}, "bundle"),
        ({"workers": 0}, "workers must be"),
        ({"workers": 2, "executor": ThreadPoolExecutor(1)}, "default pool"),
        ({"seed": -1}, "seed must be"),
        ({"chunk": 3, "networks": 4}, "multiple of chunk"),
    ):
        with pytest.raises(InputError, match=message):
            st.sweep(archs, store=tmp_path / "s", device="cpu", **options)
    with pytest.raises(InputError, match=r"expected an Architecture or its text form.*got 3"):
        st.sweep([3], store=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'networks = 4\nchunk = 2\n[grid]\nplacement = "pre-norm"\ndepth = 1\nwidth = 16\nheads = 2\n'
    )
    assert main(["sweep", str(spec), "--workers", "1", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert "2 cells of 1 architectures in results: 0 there before, 2 computed" in captured.out
    assert "100%" in captured.err
    assert main(["sweep", str(spec), "--device", "cpu", "--quiet", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert {row["networks"] for row in json.loads(captured.out)} == {4}
    assert main(["sweep", "--status"]) == 0
    assert capsys.readouterr().out == "2 wanted, 2 done, 0 running, 0 failed, 0 waiting\n"
    assert main(["sweep", "--export", "out.csv"]) == 0
    assert "out.csv: " in capsys.readouterr().out
    os.rename("results", "other")
    assert main(["sweep", "--export", "out.csv"]) == 2
    assert "no manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a specification"),
        (["nowhere.toml"], "cannot read nowhere.toml"),
        (["spec.toml", "--status"], "leave out the specification"),
        (["--preset", "depth-brunch"], "did you mean depth-branch"),
        (["--merge", "b"], "is not a store"),
    ],
)
def test_bad_input_exits_two_with_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "--quiet", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_failed_sweep_exits_one(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(
        'networks = 2\ndevice = "cuda"\n[grid]\nplacement = "pre-norm"\ndepth = 1\nwidth = 16\nheads = 2\n'
    )
    monkeypatch.setattr("spannorm_theory.sweeps.run.cuda_devices", lambda: ["cuda:77"])
    assert main(["sweep", "spec.toml", "--quiet"]) == 1
    assert "cuda:77" in capsys.readouterr().out


def test_a_preset_is_measured_and_drawn(tmp_path, one, monkeypatch):
    whole = presets.PRESETS["depth-branch"]
    few = {
        point: arch.with_(width=128, heads=4)
        for point, arch in whole.points.items()
        if point[0] in (2, 4) and point[1] in (0.25, 2.0)
    }
    from dataclasses import replace

    monkeypatch.setitem(presets.PRESETS, "depth-branch", replace(whole, points=few, finer=None))
    options = {"store": tmp_path / "s", "executor": one, "progress": False}
    result, figures = presets.run_preset(
        "depth-branch", tmp_path / "f", {"networks": 8, "device": "cpu"}, options
    )
    assert [path.name for path in figures] == ["phase-depth-branch.pdf", "phase-depth-branch.png"]
    assert all(path.stat().st_size > 1000 for path in figures)
    table = presets.PRESETS["depth-branch"].table(result.table)
    assert len(table) == 4
    assert ((table["theory"] - table["estimate"]).abs() < 0.1).all()


@pytest.mark.exact
def test_branch_scale_multiplies_branches_and_balance_keeps_their_product():
    arch = st.Architecture("pre-norm", "branch-scale-0.375", **SMALL)
    assert {
        float(m)
        for node in ("attention", "ffn")
        for m in [st.scalings()[arch.scaling].multipliers(node).branch]
    } == {0.375}
    gains = st.scalings()["balance-4.0"].multipliers("ffn").gains
    down, out = float(gains["ffn.down"]), float(gains["attn.output"])
    assert (down / out) ** 2 == rounded(4)
    assert down * out == rounded(1)


def test_every_preset_is_a_plane():
    for preset in presets.PRESETS.values():
        xs, ys = ({point[i] for point in preset.points} for i in (0, 1))
        assert len(preset.points) == len(xs) * len(ys) == len({str(arch) for arch in preset.points.values()})


def test_the_plane_of_depth_and_branch_scale_is_of_any_placement():
    chosen = presets.preset("depth-branch", "span-norm")
    assert {arch.placement for arch in chosen.points.values()} == {"span-norm"}
    with pytest.raises(InputError, match="goes with the preset depth-branch"):
        presets.preset("balance", "span-norm")


def test_a_pool_of_ones_own_is_an_executor(tmp_path):
    from multiprocessing import get_context

    spec = specify(grid(ARCHS), networks=4, device="cpu")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert run(spec, tmp_path / "s", pool, measure=draw, progress=False, bundle=2).computed == 2


def test_a_grid_takes_a_model_for_what_it_leaves_open() -> None:
    found = grid(
        {"like": "llama-3-8b", "placement": ["pre-norm", "post-norm"], "depth": 2, "heads": [16, 32]}
    )
    assert [(arch.placement, arch.heads) for arch in found] == [
        ("pre-norm", 16),
        ("pre-norm", 32),
        ("post-norm", 16),
        ("post-norm", 32),
    ]
    assert {(arch.depth, arch.width, arch.heads, arch.kv_heads, arch.activation) for arch in found} == {
        (2, 4096, 16, 4, "swiglu"),  # the model's share of heads that have keys
        (2, 4096, 32, 8, "swiglu"),
    }
    with pytest.raises(UnknownNameError, match="did you mean llama-3-8b"):
        grid({"like": "llama-3-8", "placement": "pre-norm"})
