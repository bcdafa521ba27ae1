"""Published models: every entry is read, the page is the registry's, and the command line takes them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import spannorm_theory as st
from spannorm_theory.base.errors import UnknownNameError
from spannorm_theory.cli.main import main
from spannorm_theory.models.page import page
from spannorm_theory.models.registry import FILE, GRADES

ROOT = Path(__file__).parent.parent.parent
SMALL = ["--depth", "2", "--width", "32", "--heads", "2", "--tokens", "8"]


@pytest.mark.parametrize("name", st.published())
def test_every_entry_is_an_architecture_with_a_source(name: str) -> None:
    entry, model = st.published()[name], st.model(name)
    assert re.match(r"arXiv:\d{4}\.\d{5}$|https://", entry.source)
    assert entry.grade in GRADES
    assert 2018 <= entry.year <= 2026
    assert st.Architecture.parse(str(model.arch)) == model.arch
    assert (model.name, model.arch.tokens) == (name, 64)
    assert not [note for note in model.notes if "not read" in note]


def test_the_registry_is_of_some_forty_models_dense_and_with_experts() -> None:
    models = [entry.read() for entry in st.published().values()]
    assert len(models) >= 40
    assert len({entry.config["model_type"] for entry in st.published().values()}) >= 25
    assert sum(model.arch.experts > 1 for model in models) >= 10
    assert FILE.parent.name == "models"  # inside the package, so that a wheel has it


@pytest.mark.reference
def test_sizes_add_up_to_the_parameters_that_names_say() -> None:
    """Within 15 %, which the embedding's and a few smaller matrices may make."""
    for name, billions in (
        ("gpt2-xl", 1.56),
        ("gpt-neox-20b", 20.6),
        ("bloom-176b", 176),
        ("llama-65b", 65.2),
        ("falcon-180b", 180),
        ("llama-3.1-405b", 405),
        ("mistral-7b", 7.2),
        ("mixtral-8x7b", 46.7),
        ("mixtral-8x22b", 141),
        ("gemma-2-27b", 27.2),
        ("nemotron-4-15b", 15.6),
        ("qwen3-30b-a3b", 30.5),
        ("qwen3-235b-a22b", 235),
        ("olmo-3.1-32b", 32.2),
        ("exaone-4-32b", 32.0),
    ):
        arch, config = st.model(name).arch, st.published()[name].config
        wide = config.get("head_dim", arch.width // arch.heads) * config.get(
            "num_attention_heads", arch.heads
        )
        keys = wide * (arch.kv_heads or arch.heads) // arch.heads
        attention = 2 * arch.width * (wide + keys)
        ffn = (2 + arch.nonlinearity.gated) * arch.width * arch.hidden * arch.copies("ffn.up")
        tied = 1 if name.startswith(("gpt2", "gemma", "bloom", "falcon")) else 2
        total = arch.depth * (attention + ffn) + tied * config["vocab_size"] * arch.width
        assert total / 1e9 == pytest.approx(billions, rel=0.15), name


def test_the_page_is_the_registrys() -> None:
    written = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert page() == written, "write it anew: python -m spannorm_theory.models.page docs/models.md"


def test_unknown_names_have_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'llama-3-9b'; did you mean llama-3-8b"):
        st.model("llama-3-9b")


def test_reading_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, spannorm_theory as st; st.model('deepseek-v3').text();"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the command line -------------------------------------------------------------------------------


def test_the_command_lists_and_shows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["model"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(st.published())
    assert main(["model", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == set(st.published())
    assert main(["model", "mistral-7b", "--tokens", "8192"]) == 0
    assert "window=4096" in capsys.readouterr().out
    assert main(["model", "gpt2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == st.model("gpt2").to_dict()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(dict(st.published()["gpt2"].config)))
    assert main(["model", str(path)]) == 0
    assert str(st.model("gpt2").arch) in capsys.readouterr().out


def test_like_takes_the_fields_of_a_model_and_flags_go_over_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--like", "bert-base", *SMALL, "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)
    arch = st.model("bert-base", 8, depth=2, width=32, heads=2).arch
    theirs = st.predict(arch)
    assert [row["value"] for row in ours] == pytest.approx(theirs["value"].tolist(), nan_ok=True)
    assert main(["predict", "pre-norm", "--scaling", "unit", "--like", "gpt2", *SMALL]) == 0
    captured = capsys.readouterr()
    text = captured.out.partition(":")[0]
    assert text == str(st.model("gpt2", 8, scaling="unit", depth=2, width=32, heads=2).arch)
    assert captured.err.count("\n") <= 1
    line = ["simulate", "--like", "llama-3-8b", *SMALL, "--kv-heads", "1", "--networks", "3", "--quiet"]
    assert main(line) == 0
    captured = capsys.readouterr()
    assert "kv_heads=1" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict", "predict needs a placement (see: spannorm list), or --like and the name of a model"),
        ("verify --scaling gpt2", "verify needs a placement"),
        ("predict --like gtp2", "unknown model 'gtp2'; did you mean gpt2"),
        ("predict --like gpt2 --heads 5", "width must be divisible by heads"),
        ("model gpt2 --tokens 1", "tokens must be an integer of at least 2"),
        ("model --tokens 4", "model without a name does not read --tokens"),
        ("model absent.json", "absent.json cannot be read"),
    ],
)
def test_refused_in_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_atlas_takes_a_models_fields(capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        "atlas --placements pre-norm --scalings unit --networks 0 --like bert-base --depths 8 --json --quiet"
    )
    assert main(line.split()) == 0
    assert json.loads(capsys.readouterr().out)
