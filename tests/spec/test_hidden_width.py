"""The hidden width: as a ratio or as itself, in one form."""

from __future__ import annotations

import pytest

from spannorm_theory import Architecture
from spannorm_theory.base.errors import InputError
from spannorm_theory.cli.main import main


@pytest.mark.exact
def test_a_width_is_kept_as_its_ratio() -> None:
    arch = Architecture("pre-norm", ffn_width=688)
    assert arch == Architecture("pre-norm", ffn_ratio=2.6875)
    assert str(arch) == "pre-norm unit ffn_ratio=2.6875"
    assert (arch.hidden, arch.weights["ffn.down"]) == (688, (688, 256))
    assert Architecture.parse("pre-norm ffn_width=688") == arch
    assert Architecture("pre-norm", ffn_width=1024) == Architecture("pre-norm")


@pytest.mark.exact
def test_every_hidden_width_of_a_width_is_found_again() -> None:
    for width in (96, 768, 1000, 7168):
        for hidden in (1, 3, width // 3, 2048, 8 * width // 3, 11008, 49152):
            arch = Architecture("pre-norm", width=width, ffn_width=hidden)
            assert arch.hidden == hidden
            assert Architecture.parse(str(arch)) == arch == arch.with_(depth=12)
    rounded = Architecture("pre-norm", width=768, ffn_ratio=2.6666666666666665)
    assert rounded == Architecture("pre-norm", width=768, ffn_width=2048)


@pytest.mark.exact
def test_a_copy_with_another_hidden_width() -> None:
    arch = Architecture("pre-norm", ffn_ratio=2)
    assert arch.with_(ffn_width=688).hidden == 688
    assert arch.with_(width=512).hidden == 1024
    assert arch.with_(width=512, ffn_width=100).hidden == 100


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ffn_width": 688, "ffn_ratio": 4.0}, "give one of them, got ffn_width=688 and ffn_ratio=4.0"),
        ({"ffn_width": 0}, "ffn_width must be"),
        ({"width": 768, "ffn_ratio": 2.6667}, "ffn_width says that number itself"),
        ({"ffn_ratio": 1e-20}, "must be a whole number"),
    ],
)
def test_what_is_no_hidden_width(fields: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Architecture("pre-norm", **fields)


def test_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for flags in (["--ffn-width", "688"], ["--ffn-ratio", "2.6875"], []):
        assert main(["predict", "pre-norm", "--depth", "2", *flags, "--json"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2]
