"""Lookups in tidy tables, against plain pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spannorm_theory as st
from spannorm_theory.base.errors import InputError, UnknownNameError

ARCH = st.Architecture("post-norm", depth=12, width=64, heads=4, tokens=8)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return st.predict(ARCH)


@pytest.mark.exact
def test_values_and_first_layers_are_those_of_pandas(table: pd.DataFrame) -> None:
    rows = table[table["quantity"] == "token_cosine"].sort_values("layer")
    cosines = rows["value"].to_numpy()
    assert st.value_at(table, "token_cosine", layer=3) == cosines[3]
    assert st.value_at(table, "token_cosine") == st.value_at(table, "token_cosine", layer=12) == cosines[-1]
    assert st.depth_where(table, "token_cosine", above=0.5) == int(np.argmax(cosines > 0.5)) > 0
    assert st.depth_where(table, "token_cosine", below=0.5) == 0
    assert st.depth_where(table, "token_cosine", above=0.5, below=0.9) == int(np.argmax(cosines > 0.5))
    assert st.depth_where(table, "token_cosine", above=1.5) is None
    last = table[(table["stream"] == "ffn.down") & (table["layer"] == 11)]["value"].item()
    assert st.value_at(table, "weight_grad_norm", stream="ffn.down") == last


def test_they_read_simulations_verifications_and_tables_of_several(table: pd.DataFrame) -> None:
    verified = st.verify(ARCH, networks=3, progress=False)
    assert st.value_at(verified, "variance", layer=2) == st.value_at(table, "variance", layer=2)
    assert st.value_at(verified.ensemble, "variance", layer=0) == pytest.approx(1, abs=0.2)
    both = pd.concat([table, st.predict(ARCH.with_(placement="pre-norm"))])
    with pytest.raises(InputError, match="several curves of variance: say which placement"):
        st.value_at(both, "variance")
    assert st.value_at(both, "variance", placement="post-norm") == pytest.approx(1)
    assert st.value_at(both, "variance", placement="pre-norm") > 2
    single = st.predict(ARCH, by="position", positions=[1, 8])
    with pytest.raises(InputError, match="say which position"):
        st.value_at(single, "variance")
    assert st.value_at(single, "variance", position=8) == pytest.approx(1)


def test_what_is_not_there_is_named(table: pd.DataFrame) -> None:
    with pytest.raises(UnknownNameError, match="did you mean token_cosine"):
        st.value_at(table, "token_cosin")
    with pytest.raises(UnknownNameError, match="unknown stream '1'"):
        st.value_at(table, "variance", stream=1)
    with pytest.raises(InputError, match="an integer from -13 to 12, got 13"):
        st.value_at(table, "variance", layer=13)
    with pytest.raises(InputError, match="above= or below="):
        st.depth_where(table, "variance")
    with pytest.raises(UnknownNameError, match="did you mean width"):
        st.value_at(table, "variance", widht=64)
    with pytest.raises(InputError, match="no variance of depth=24"):
        st.value_at(table, "variance", depth=24)
    with pytest.raises(InputError, match="what predict, simulate or verify return"):
        st.value_at([1, 2], "variance")  # type: ignore[arg-type]


def test_a_table_in_any_order_and_with_gaps_is_read_by_layer(table: pd.DataFrame) -> None:
    turned = table.iloc[::-1]
    assert st.value_at(turned, "variance") == st.value_at(table, "variance")
    assert st.value_at(turned, "variance", layer=0) == st.value_at(table, "variance", layer=0)
    gap = table[table["layer"] != 1]
    with pytest.raises(InputError, match="not at 1"):
        st.value_at(gap, "variance", layer=1)
    numbered = gap[gap["stream"] == "0"].assign(stream=0)  # as a file of one stream is read
    assert st.value_at(numbered, "variance") == st.value_at(table, "variance")
    with pytest.raises(InputError, match="has no rows"):
        st.value_at(table[:0], "variance")


def test_weight_gradients_and_comparisons_say_how_they_are_read() -> None:
    with pytest.raises(InputError, match=r"say stream= which of attn.key, .*, ffn.up"):
        st.value_at(st.predict("pre-norm depth=4"), "weight_grad_norm", layer=3)
    found = st.compare("pre-norm", laws=False, depth=4, width=64, heads=4)
    with pytest.raises(InputError, match=r"table\['cosine_above_0.9'\]"):
        st.depth_where(found.table, "token_cosine", above=0.9)
