"""Near misses of names, and what results print."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spannorm_theory import Architecture, Multipliers, atlas, claims, derive, placements, simulate, sweep
from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.cli.main import main
from spannorm_theory.spec.fields import OTHER_WORDS, Fields

SMALL = {"depth": 2, "width": 16, "heads": 4, "tokens": 4}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": 12}, "field of Architecture 'layers'; did you mean depth\\?"),
        ({"d_model": 64}, "did you mean width\\?"),
        ({"n_heads": 4}, "did you mean heads\\?"),
        ({"dpeth": 3}, "did you mean depth"),
        ({"activation": "SwiGLU"}, "did you mean swiglu"),
        ({"mask": "Causal"}, "did you mean causal\\?"),
    ],
)
def test_near_misses_of_fields_and_values(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        Architecture("pre-norm", **fields)  # type: ignore[arg-type]


def test_near_misses_elsewhere() -> None:
    with pytest.raises(UnknownNameError, match=r"weight matrix 'attn\.querry'; did you mean attn\.query"):
        Multipliers(gains={"attn.querry": 2})
    with pytest.raises(UnknownNameError, match="placement 'Span_Norm'; did you mean span-norm"):
        Architecture("Span_Norm")
    with pytest.raises(UnknownNameError, match="'layers'; did you mean depth"):
        Architecture("pre-norm").with_(layers=3)


def test_words_of_other_libraries_mean_fields() -> None:
    assert {name for name in OTHER_WORDS.values() if not hasattr(Fields, name)} == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "12"], "unknown flag of predict '--layers'; did you mean --depth?"),
        (["--depht=12"], "unknown flag of predict '--depht'; did you mean --depth"),
        (["--dep", "12"], "unknown flag of predict '--dep'; did you mean --depth"),
        (["again"], "predict takes no further argument 'again'"),
    ],
)
def test_near_misses_of_flags(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "pre-norm", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"spannorm: {message}")
    assert error.count("\n") == 1


def test_results_print_a_summary(tmp_path: Path) -> None:
    recursion = derive("post-norm")
    assert str(recursion) == recursion.text()
    assert repr(recursion.closed_form()).splitlines()[1] == "  q = 1"
    assert "'q': Theta(1), constant 1" in repr(recursion.asymptotics())
    found = atlas(["pre-norm"], ["unit"], workers=1)
    assert repr(found) == f"Atlas: {found.summary()}"
    report = claims(["spannorm-bounded-variance"], simulated=False)
    assert repr(report) == "ClaimsReport: 1 claims, 0 with another verdict than recorded"
    arch = Architecture("pre-norm", **SMALL)
    assert len(repr(simulate(arch, networks=2, progress=False))) < 200
    with ThreadPoolExecutor(1) as pool:
        swept = sweep([arch], networks=2, executor=pool, store=tmp_path / "store", progress=False)
    assert repr(swept).startswith("Sweep: 1 cells of 1 architectures")
    assert repr(swept.store) == f"Store: {tmp_path / 'store'}, 1 of 1 cells done, 0 failed"
    assert repr(placements()).startswith(f"{len(placements())} of kind placement: ")


def test_an_executor_by_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"executor is an object with a method submit.*got 'serial'"):
        sweep([Architecture("pre-norm", **SMALL)], networks=2, executor="serial", store=tmp_path / "store")


def test_long_messages_keep_both_ends() -> None:
    message = str(InputError(f"expected a name, got {'x' * 10_000}; take another"))
    assert len(message) < 1700
    assert message.startswith("expected a name, got xxx")
    assert message.endswith("xxx; take another")
