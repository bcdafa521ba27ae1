"""Questions to a tidy table: a value at a layer, the first layer where something holds, a whole curve."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

from .arguments import choice, real, whole
from .arguments import stream as stream_name
from .arguments import table as table_of
from .errors import InputError, UnknownNameError, shown

if TYPE_CHECKING:
    import pandas as pd

    from .arguments import Result

#: columns of values: of predictions and simulations, and of verifications, theory first
VALUES = ("value", "theory")

#: columns that a question can choose by
KEYS = ("placement", "scaling", "depth", "width", "tokens", "position")


def value_at(
    table: pd.DataFrame | Result, quantity: str, layer: int = -1, *, stream: str | int = "0", **keys: Any
) -> float:
    """The value of a quantity at one layer.

        st.value_at(st.predict("pre-norm unit depth=24"), "token_cosine", layer=8)

    Args:
        table: what predict, simulate or verify return, or their table; of a verification, its theory.
        quantity: a name in the table's column ``quantity``.
        layer: from 0; negative ones count from the last that the table has.
        stream: a stream, or for weight gradients a matrix.
        keys: values of placement, scaling, depth, width, tokens or position, where there are several.

    Returns:
        the value; NaN is what the theory does not predict.

    Raises:
        InputError: no such table, quantity, stream or layer, or several architectures are in question.

    Example:
        >>> import spannorm_theory as st
        >>> st.value_at(st.predict("post-norm depth=2 width=64 heads=2 tokens=8"), "variance", layer=-1)
        1.0
    """
    values = curve(table, quantity, stream=stream, **keys)
    layers = values.index.tolist()
    layer = whole("layer", layer, -len(layers), max(layers))
    if layer >= 0 and layer not in layers:
        raise InputError(f"the table has {quantity} at layers {layers[0]} to {layers[-1]}, not at {layer}")
    return float(values.loc[layers[layer] if layer < 0 else layer])


def depth_where(
    table: pd.DataFrame | Result,
    quantity: str,
    *,
    above: float | None = None,
    below: float | None = None,
    stream: str | int = "0",
    **keys: Any,
) -> int | None:
    """The first layer at which a quantity is above, or below, a number.

        st.depth_where(st.predict("post-norm unit depth=24"), "token_cosine", above=0.9)

    Args:
        above, below: the number; one of the two, or both for a value between.
        table, quantity, stream, keys: those of :func:`value_at`.

    Returns:
        the layer, which is the number of blocks in front of it; None where there is none.

    Raises:
        InputError: that of :func:`value_at`, or no number.

    Example:
        >>> import spannorm_theory as st
        >>> st.depth_where(st.predict("pre-norm depth=4 width=64 heads=2 tokens=8"), "variance", above=1.5)
        1
    """
    if above is None and below is None:
        raise InputError("say above= or below= which number; depth_where looks for the first layer there")
    values = curve(table, quantity, stream=stream, **keys)
    held = values.notna()
    if above is not None:
        held &= values > real("above", above)
    if below is not None:
        held &= values < real("below", below)
    layers: list[int] = values.index[held].tolist()
    return min(layers, default=None)


def curve(
    table: pd.DataFrame | Result, quantity: str, *, stream: str | int = "0", **keys: Any
) -> pd.Series[float]:
    """A quantity over the layers of one stream, as a series whose index is the layer.

    Args:
        table, quantity, stream, keys: those of :func:`value_at`.

    Raises:
        InputError: that of :func:`value_at`.
    """
    source = "what predict, simulate or verify return, or its table"
    if "gradient_ratio" in getattr(getattr(table, "table", table), "columns", ()):
        raise InputError(
            "a comparison has a row for each candidate and no layers; read its columns, as "
            "table['cosine_above_0.9'] for the first layer above 0.9"
        )
    found = table_of("the table", table, ("quantity", "stream", "layer"), source)
    column = next((name for name in VALUES if name in found and found[name].dtype.kind == "f"), None)
    if column is None:
        raise InputError(f"the table must be {source}; this one has no column of values")
    if found.empty:
        raise InputError(f"the table must be {source}; this one has no rows")
    found = found[found["quantity"] == choice("quantity", quantity, set(found["quantity"]))]
    streams = found["stream"].astype(str)  # numbers, where a file was read
    if isinstance(stream, str) and stream == "0" and "0" not in set(streams):
        raise InputError(
            f"{quantity} has no stream '0'; say stream= which of {', '.join(sorted(set(streams)))}"
        )
    found = found[streams == choice("stream", stream_name(stream), set(streams))]
    for name, value in keys.items():
        if name not in KEYS or name not in found:
            raise UnknownNameError("column", name, [key for key in KEYS if key in found])
        plain = isinstance(value, (str, Real))
        found = found[found[name] == value] if plain else found[:0]
        if found.empty:
            raise InputError(f"the table has no {quantity} of {name}={shown(value)}")
    if found["layer"].duplicated().any():
        several = [name for name in KEYS if name in found and len(set(found[name])) > 1]
        which = f"say which {' and '.join(several)}" if several else "pass the table of one"
        raise InputError(f"the table has several curves of {quantity}: {which}")
    return found.set_index("layer")[column].sort_index()
