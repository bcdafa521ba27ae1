"""Names of the formulas of a recursion, by which closed forms, laws and bounds are found, and their words.

Second moments go by their symbols: "q" of one stream, "q_01" of streams 0 and 1. All others have the names
below, with the stream's number behind them where each stream has its own, as "identity_gain_0".
"""

from __future__ import annotations

RATIO, EMBEDDING, BALANCED = "gradient_ratio", "gradient_at_embedding", "balanced_gradient"
COLLAPSE, IDENTITY = "collapse", "identity_gain"

#: the words of each; the gradient at the embedding is that for a unit gradient at the model's output, the
#: ratio that for one at the last stream
WORDS = {
    RATIO: "gamma_0/gamma_L",
    EMBEDDING: "gradient at the embedding",
    BALANCED: "gradient at the embedding, omega = sigma",
    COLLAPSE: "(1-rho_L)/(1-rho_0)",
    IDENTITY: "identity gain",
}


def of_stream(name: str, stream: int, streams: int) -> str:
    """The name of a stream's own formula; of a single stream the name itself."""
    return name if streams == 1 else f"{name}_{stream}"


def split(name: str) -> tuple[str, str]:
    """A name, and the number of the stream or streams behind it; empty where there is none."""
    stem, _, index = name.rpartition("_")
    return (stem, index) if index.isdigit() else (name, "")


def words(name: str, at: str = "l") -> str:
    """A formula's name in a text, as "identity gain 0"; of a moment not at l but at L, "q_01 at l=L"."""
    stem, index = split(name)
    if stem in WORDS:
        return f"{WORDS[stem]} {index}".rstrip()
    return name if at == "l" else f"{name} at l={at}"
