"""The page of a GPU, and the script that writes it where there is none."""

import subprocess
import sys

import pytest

from spannorm_theory.bench import gpu


@pytest.mark.skipif(gpu.devices() > 0, reason="there is a CUDA device")
def test_without_a_device_nothing_is_run_and_nothing_is_loaded(tmp_path):
    path = tmp_path / "gpu.md"
    code = (
        f"import sys; from spannorm_theory.bench import gpu; status = gpu.main({str(path)!r});"
        "assert not {'torch', 'scipy', 'pandas'} & set(sys.modules), sys.modules; sys.exit(status)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "make gpu: no CUDA device here; nothing was run\n"
    assert not path.exists()


def test_a_missing_package_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu, "devices", lambda: 1)
    monkeypatch.setattr(gpu, "NEEDED", ("sys", "no_such_package"))
    assert gpu.main(str(tmp_path / "gpu.md")) == 2
    assert "install no_such_package, or bring wheels" in capsys.readouterr().err


def test_the_page_names_the_device_and_has_a_row_for_each_ensemble():
    rows = [{"ensemble": "deep", "seconds": 2}, {"ensemble": "causal", "seconds": 3}]
    text = gpu.page("a device", "torch 9", ["5 passed"], rows)
    assert "on a device, torch 9" in text
    assert "* 5 passed" in text
    assert "| ensemble | seconds |\n| --- | --- |\n| deep | 2 |\n| causal | 3 |" in text
