"""A user's module on a CUDA device."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from modules import Model

import spannorm_theory as st

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_module_is_measured_where_it_is() -> None:
    torch.manual_seed(0)
    model, ids = Model(), torch.arange(16).view(2, 8)
    here = st.probe(model, ids, progress=False).table
    state = torch.cuda.get_rng_state()
    there = st.probe(model.cuda(), ids, progress=False).table
    assert torch.equal(torch.cuda.get_rng_state(), state)
    columns = ["layer", "stream", "quantity", "value"]
    pd.testing.assert_frame_equal(here[columns], there[columns], rtol=1e-4)
    assert st.read(model, tokens=8).words() == "std 1/√inputs on " + ", ".join(
        ["attn.query", "attn.key", "attn.value", "attn.output", "ffn.up", "ffn.down"]
    )
