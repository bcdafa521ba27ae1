"""Estimates of memory: from sizes alone, with everything that grows with them."""

from __future__ import annotations

import pytest
import torch

from spannorm_theory import Architecture
from spannorm_theory.base.errors import InputError
from spannorm_theory.montecarlo.batches import HOST, require_memory
from spannorm_theory.montecarlo.footprint import Footprint

ARCH = Architecture("pre-norm", depth=100, width=128, heads=4, tokens=16)


def least(arch: Architecture, explicit: bool = False) -> int:
    return Footprint.of(arch, 4, explicit).least(arch.depth)


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("name", ["width", "depth", "tokens", "vocabulary", "experts"])
def test_the_estimate_grows_with_every_size(name: str, explicit: bool) -> None:
    arch = ARCH.with_(loss="cross-entropy", experts=2)
    assert least(arch.with_(**{name: 4 * getattr(arch, name)}), explicit) > least(arch, explicit)


def test_an_unembedding_is_counted_where_there_is_one() -> None:
    large = 10**9
    assert least(ARCH.with_(vocabulary=large, loss="cross-entropy")) > 4 * large * ARCH.width
    assert least(ARCH.with_(vocabulary=large, inputs="zipf")) > 8 * large
    assert least(ARCH) < large


def test_a_segment_is_the_largest_that_fits() -> None:
    footprint = Footprint.of(ARCH, 4, True)
    frugal = footprint.segment(2, ARCH.depth, 0)
    for budget in (footprint.needed(2, s, ARCH.depth) for s in range(frugal, ARCH.depth + 1)):
        fitting = [s for s in range(1, ARCH.depth + 1) if footprint.needed(2, s, ARCH.depth) <= budget]
        assert footprint.segment(2, ARCH.depth, budget) == max(fitting)
    assert footprint.segment(2, 10**15, 0) < 10**15


def test_what_is_proposed_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    from spannorm_theory.montecarlo import batches

    monkeypatch.setattr(batches, "available_memory", lambda device: 1 << 30)
    with pytest.raises(InputError, match=r"depth ([0-9]+) would fit") as refused:
        require_memory(ARCH.with_(depth=10**12), 1, HOST, torch.float32, False)
    depth = int(str(refused.value).rpartition("depth ")[2].split()[0])
    require_memory(ARCH.with_(depth=depth), 1, HOST, torch.float32, False)
    with pytest.raises(InputError, match=r"([0-9]+) networks would fit") as refused:
        require_memory(ARCH, 10**9, HOST, torch.float32, False)
    networks = int(str(refused.value).rpartition("; ")[2].split()[0])
    require_memory(ARCH, networks, HOST, torch.float32, False)


def test_memory_of_long_sequences_grows_with_the_tokens_alone() -> None:
    """Attention is cut into tiles; averages take token Grams, which single positions do not."""

    def needed(tokens: int, positions: int, **fields: float) -> int:
        long = Architecture(
            "pre-norm", width=1024, heads=16, depth=12, tokens=tokens, mask="causal", **fields
        )
        return Footprint.of(long, 4, True, positions).least(long.depth)

    assert needed(16384, 50) < 2.1 * needed(8192, 50)
    assert needed(16384, 0) - needed(16384, 50) > 8 * 16384**2
    assert needed(16384, 50, attention_dropout=0.1) > 4 * 2 * 16 * 16384**2
