"""What a prediction leaves out says why, everywhere."""

import numpy as np
import pytest

from spannorm_theory import Architecture, compare, expected, predict, verify
from spannorm_theory.base.errors import InputError
from spannorm_theory.base.quantities import SPECTRAL
from spannorm_theory.cli.main import main
from spannorm_theory.prediction import positions
from spannorm_theory.prediction.predict import predict_profiles

SMALL = Architecture("pre-norm", depth=3, width=64, heads=4, tokens=8)
CAUSAL = SMALL.with_(mask="causal")
IDS = SMALL.with_(inputs="zipf", vocabulary=10, loss="cross-entropy")

#: designs, and what a reason of theirs says
DESIGNS = [
    (SMALL, ""),
    (SMALL.with_(logit_variance=16.0), "nearly a maximum"),
    (SMALL.with_(dropout=0.1), "dropout"),
    (SMALL.with_(width=1024, depth=20, tokens=64, placement="post-norm"), "covariances vary too much"),
    (SMALL.with_(placement="post-norm", experts=8, top_k=2, depth=24), "routed unlike"),
    (IDS, "equal weights in every row"),
    (IDS.with_(experts=4, top_k=2), "same experts"),
    (IDS.with_(batch=4, tokens=70, inputs="uniform", vocabulary=10**6), "several sequences"),
    (CAUSAL.with_(depth=12, tokens=24), "covariances vary too much"),
    (CAUSAL.with_(attention_dropout=0.1, mask="none"), "dropout"),
    (CAUSAL.with_(tokens=70), "no spectra"),
    (CAUSAL.with_(tokens=70, placement="post-norm", input_cosine=1 - 1e-11), "one vector"),
    (CAUSAL.with_(tokens=70, positions="rope", input_cosine=0.95), "rotary"),
    (CAUSAL.with_(tokens=70, width=512, logit_variance=30.0), "factor of 1.4"),
]


@pytest.mark.exact
@pytest.mark.parametrize(("arch", "reason"), DESIGNS, ids=lambda x: str(x))
def test_every_row_without_a_number_has_one_reason(arch: Architecture, reason: str) -> None:
    found = predict_profiles(arch)
    said = [(key, layer) for one in found.left_out for key in one.keys for layer in one.layers]
    missing = {(key, layer) for key, x in found.profiles.items() for layer in np.flatnonzero(np.isnan(x))}
    assert set(said) == missing
    assert len(said) == len(missing)
    lines = list(map(str, found.left_out))
    assert reason in " ".join(lines)
    assert all("theory='sampled'" in line or "simulate(...)" in line for line in lines)


@pytest.mark.exact
@pytest.mark.parametrize("theory", ["sampled", "positions"])
def test_networks_cannot_differ_by_more_than_tokens_can(theory: str) -> None:
    """Where U is beyond leading order it grows without bound, and e^{2U} with it, which was e^70."""
    arch = CAUSAL.with_(placement="post-norm", depth=40, tokens=16, activation="swiglu", init=0.16)
    found = predict_profiles(arch, theory)
    gone = np.isnan(found.profiles["attn.key", "weight_grad_norm"])
    assert gone[-1]
    assert not gone[:4].any()
    assert "networks differ in how alike tokens are" in " ".join(map(str, found.left_out))
    query = found.profiles["attn.query", "weight_grad_norm"]
    assert np.nanmax(query - found.profiles["0", "grad_variance"][1:]) < 20


@pytest.mark.exact
def test_rows_beyond_their_error_are_left_out_and_no_others() -> None:
    arch = CAUSAL.with_(tokens=70, width=512, logit_variance=30.0)
    found = predict_profiles(arch)
    assert found.errors is not None
    for key, x in found.profiles.items():
        if key[1] not in SPECTRAL:
            assert (np.isnan(x) == (found.errors[key] > positions.LIMIT)).all(), key
    assert np.isnan(found.profiles["attn.key", "weight_grad_norm"]).all()
    assert np.isfinite(found.profiles["0", "grad_variance"]).all()


@pytest.mark.exact
def test_a_row_whose_total_is_left_out_names_where_to_get_it() -> None:
    lines = predict(IDS).attrs["left_out"]
    assert any(line.startswith("global_grad_norm [output]: it adds up") for line in lines)
    assert predict(IDS, by="position").attrs["left_out"] == []
    assert [line for line in lines if "_rank" not in line] == expected(IDS)["left_out"]
    assert predict(SMALL.with_(depth=1, width=10**4)).attrs["left_out"] == []


def test_layers_are_named_where_some_have_numbers() -> None:
    arch = SMALL.with_(width=1024, depth=20, tokens=64, placement="post-norm")
    table = predict(arch)
    rows = table[table["quantity"] == "stable_rank"]
    first = int(rows.loc[rows["value"].isna(), "layer"].min())
    assert 0 < first < 20
    assert any(f" layers from {first} to 20: " in line for line in table.attrs["left_out"])


def test_the_command_says_it_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pre-norm", "--depth", "2", "--width", "64", "--heads", "4", "--tokens", "70"]
    for more in ([], ["--json"]):
        assert main(["predict", *words, "--mask", "causal", *more]) == 0
        out, err = capsys.readouterr()
        assert "not predicted" not in out
        assert "not predicted: stable_rank, effective_rank, participation_ratio [0]: positions" in err


def test_verifications_and_comparisons_say_it() -> None:
    arch = SMALL.with_(dropout=0.1, depth=2)
    result = verify(arch, networks=8, progress=False)
    assert "  not predicted: stable_rank" in result.summary()
    found = compare(IDS, laws=False, progress=False)
    assert "equal weights in every row" in found.table["problem"][0]
    assert "it adds up all gradients" in found.sentences[0]


def test_a_verification_has_no_single_positions() -> None:
    with pytest.raises(InputError, match=r"averages over tokens, got by='position'; .*simulate"):
        verify(CAUSAL, by="position")  # type: ignore[arg-type]
