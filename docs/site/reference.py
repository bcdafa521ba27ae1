"""The reference: every public name from its docstring, by what one does with it."""

from __future__ import annotations

import inspect
from pathlib import Path

import spannorm_theory as st
from spannorm_theory.base import errors
from spannorm_theory.base.files import write_file

#: public names by page: its file, its title, and what it says first
GROUPS: dict[str, tuple[str, str, str]] = {
    "architecture": (
        "Architectures, and definitions of your own",
        "An architecture is a placement, a scaling rule, sizes and options: the input of everything else. "
        "What is registered here is known everywhere at once; [extending](../docs/extending.md) shows how.",
        "Architecture placement scaling Multipliers activation placements scalings activations",
    ),
    "derive": (
        "Formulas",
        "One block's step in symbols, its closed forms, laws and bounds; [the theory](../docs/theory.md) "
        "derives the rules by which they are found.",
        "derive Recursion fixed_points FixedPoint reduces_to",
    ),
    "predict": (
        "Numbers of the theory",
        "Every layer's moments without a random number. Tables are tidy: a row for each layer, stream and "
        "quantity, whose letters [the notation](../docs/notation.md) has.",
        "predict expected value_at depth_where",
    ),
    "verify": (
        "Random networks, and theory against them",
        "Monte Carlo on real transformers, with standard errors over independent networks.",
        "simulate Ensemble verify Verification spectra",
    ),
    "step": (
        "The first step of an optimiser",
        "What it moves, layer by layer, in theory and in networks; see [first steps](../docs/first_step.md).",
        "first_step verify_step step_law StepLaw step_exponents tangent_kernel module Transformer",
    ),
    "compare": ("Candidates side by side", "See [comparing](../docs/comparing.md).", "compare Comparison"),
    "audit": (
        "A model of your own",
        "A torch module's tensors are read and its residual stream is measured; see "
        "[your model](../docs/your_model.md).",
        "audit Audit read Reading probe Probe identify Identification",
    ),
    "models": (
        "Published models",
        "Configurations as architectures, and what these leave out; [the list](../docs/models.md).",
        "model Model Gap from_config published",
    ),
    "sweeps": ("Sweeps", "See [sweeps](../docs/sweeps.md) for clusters and promises.", "sweep Sweep Store"),
    "atlas": (
        "Atlas and claims",
        "The laws of every placement under every rule, and what papers say, decided.",
        "atlas Atlas claims ClaimsReport",
    ),
    "files": (
        "Reports, figures, tables and the explorer as files",
        "",
        "write_report write_figures write_latex write_explorer",
    ),
}

#: names that have pages of their own kind
ELSEWHERE = {"SpannormError", "plot", "__version__"}

INDEX = """# Reference

`import spannorm_theory as st` gives these names; each is imported when it is first used. Second moments are
per coordinate of a stream unless a docstring says otherwise; layers count from 0, the embedding.

| page | names |
|---|---|
"""


def names(group: str) -> list[str]:
    """The public names of a page."""
    return GROUPS[group][2].split()


def write(folder: Path) -> None:
    """Write the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {group: (title, words, _directives(names(group))) for group, (title, words, _) in GROUPS.items()}
    pages["plot"] = (
        "Figures",
        "Functions of `st.plot`; each takes tables and returns matplotlib's axes or figure.",
        _directives([f"plot.{name}" for name in st.plot.__all__]),
    )
    pages["errors"] = (
        "Errors",
        "Errors are the toolkit's own, one line each: what was expected, what came, what to do.",
        "\n".join(f".. autoexception:: spannorm_theory.base.errors.{name}\n" for name in _errors()),
    )
    text = INDEX
    for group, (title, words, directives) in pages.items():
        write_file(folder / f"{group}.md", f"# {title}\n\n{words}\n\n```{{eval-rst}}\n{directives}\n```\n")
        listed = names(group) if group in GROUPS else st.plot.__all__ if group == "plot" else _errors()
        text += f"| [{title}]({group}.md) | {', '.join(f'`{name}`' for name in listed)} |\n"
    text += "| [The command line](cli.md) | `spannorm` |\n"
    text += "| [How the code is built](../docs/architecture.md) | rooms, and what imports what |\n"
    inner = "\n".join([*pages, "cli", "../docs/architecture"])
    write_file(folder / "index.md", f"{text}\n:::{{toctree}}\n:hidden:\n\n{inner}\n:::\n")


def _errors() -> list[str]:
    """The error classes, the general one first."""
    found = inspect.getmembers(errors, inspect.isclass)
    return sorted(
        (name for name, kind in found if issubclass(kind, st.SpannormError)),
        key=lambda name: name != "SpannormError",
    )


def _directives(listed: list[str]) -> str:
    return "\n".join(_directive(name) for name in listed)


def _directive(name: str) -> str:
    found = st
    for part in name.split("."):
        found = getattr(found, part)
    kind = "class" if inspect.isclass(found) else "function"
    members = "   :members:\n" if kind == "class" else ""
    return f".. auto{kind}:: spannorm_theory.{name}\n{members}"
