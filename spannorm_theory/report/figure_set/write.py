"""Write the standard set of figures, or make one again from its recipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.transforms import Bbox
from tqdm import tqdm

from ...base import arguments
from ...base.files import make_folder, write_file
from ...base.interrupts import whole_results
from ...base.jsontext import to_json
from ...placement_pages.cells import architectures
from ...placement_pages.pictures import slug
from ...plot.canvas.paper import RC, STYLES, paper, save
from ...render.latex_table import write_latex
from ...spec.architecture import Architecture
from ..write import NETWORKS
from .kinds import Results, make
from .recipe import Recipe

FORMS = ("pdf", "svg", "png")


def standard_set(archs: Sequence[Architecture], style: str, networks: int, seed: int) -> Iterator[Recipe]:
    """The recipes of the comparison, rank collapse, weight gradients, residuals, spectra and blocks."""

    def recipe(name: str, kind: str, chosen: Sequence[Architecture], **options: object) -> Recipe:
        return Recipe(name, kind, style, tuple(chosen), networks, seed, options)

    scalings = list(dict.fromkeys(arch.scaling for arch in archs))
    quantities = ["variance", "grad_variance", "token_cosine"]
    plain = [arch for arch in archs if arch.scaling == scalings[0] and arch.name != "no-norm"] or archs
    closely = next((at for at, arch in enumerate(plain) if arch.name == "span-norm"), 0)
    yield recipe("overview", "overview", plain, first=closely)
    yield recipe("comparison", "comparison", archs, quantities=quantities)
    collapse = ["rank_collapse", "effective_rank"]
    yield recipe("rank-collapse", "comparison", archs, quantities=collapse)
    for scaling in scalings:
        chosen = [arch for arch in archs if arch.scaling == scaling]
        yield recipe(f"weight-gradients-{slug(scaling)}", "weight-gradients", chosen)
        yield recipe(f"residuals-{slug(scaling)}", "residuals", chosen)
        columns = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}.get(len(chosen), 4)
        yield recipe(f"spectra-{slug(scaling)}", "spectra", chosen, columns=columns)
    for arch in archs:
        yield recipe(f"block-{slug(arch.placement)}-{slug(arch.scaling)}", "block", [arch])


def cost(recipes: Sequence[Recipe]) -> str:
    """The networks that a set simulates, in words; figures of one architecture share them, but spectra draw
    their own."""
    verified: set[Architecture] = set()
    drawn: set[Architecture] = set()
    for recipe in recipes:
        if recipe.kind != "block":
            (drawn if recipe.kind == "spectra" else verified).update(recipe.architectures)
    count = (len(verified) + len(drawn)) * recipes[0].networks if recipes else 0
    if not count:
        return f"{len(recipes)} figure(s) without random networks"
    sizes = {(arch.depth, arch.width, arch.tokens) for arch in verified | drawn}
    words = " and ".join(f"depth {L}, width {d}, {n} tokens" for L, d, n in sorted(sizes))
    return (
        f"{len(recipes)} figure(s) of {len(verified | drawn)} architectures simulate {count:,} networks of "
        f"{words}, most of them for the first figure"
    )


@whole_results()
def write_figures(
    out: str | Path,
    placements: Sequence[str] | str | None = None,
    scalings: Sequence[str] | str = ("unit", "depth-scaled-init"),
    depth: int = 48,
    width: int = 1024,
    heads: int = 16,
    tokens: int = 32,
    networks: int = NETWORKS,
    seed: int = 0,
    style: str = "icml",
    progress: bool = True,
    names: Sequence[str] | str | None = None,
    **fields: Any,
) -> list[Path]:
    """Write the standard set for a venue: each figure as PDF, SVG and PNG, and its recipe as JSON.

    The recipe (architectures, seed, versions) is in each file's metadata too. ``verification.tex`` holds
    the outcome of every comparison, ready for LaTeX.

    Args:
        out: a folder, made if it does not exist; files of the same names are replaced.
        placements: registered names; None takes the eight standard ones.
        scalings: registered scaling rules.
        depth, width, heads, tokens: L, d, H and n of every architecture.
        networks: independent networks of each case, at least 3.
        seed: of the networks.
        style: "neurips", "icml", "iclr", "tmlr", "talk" or "house".
        progress: say what the set costs, and show a bar.
        names: of figures of the set, as "comparison" or "rank-collapse"; None makes all, and the table.
        fields: further fields of :class:`~spannorm_theory.Architecture`; standard placements that cannot have
            them are left out.

    Returns:
        the files.

    Raises:
        InputError: a name, size or folder that cannot be used.

    Example:
        >>> import spannorm_theory as st
        >>> st.write_figures("figures", ["pre-norm"], "unit", depth=4, width=64, heads=2)  # doctest: +SKIP
    """
    out, seed = arguments.path("out", out), arguments.seed(seed)
    style, networks = (
        arguments.choice("style", style, STYLES),
        arguments.whole("networks", networks, 3, why="for a standard error"),
    )
    archs = architectures(placements, scalings, depth, width, heads, tokens, **fields)
    recipes = list(standard_set(archs, style, networks, seed))
    if names is not None:
        known = {recipe.name: recipe for recipe in recipes}
        recipes = [
            known[arguments.choice("figure", name, known)]
            for name in dict.fromkeys(arguments.names("names", names))
        ]
    folder = make_folder(out)
    results, files = Results(), []
    if progress:
        print(f"spannorm: {cost(recipes)}", file=sys.stderr)
    for recipe in tqdm(recipes, desc="figures", disable=not progress):
        files += write(recipe, folder, results)
    if names is not None:
        return files
    found = [cell.verification for cell in results.cells(recipes[1]) if cell.verification is not None]
    return [*files, write_latex(found, folder / "verification.tex")]


@whole_results()
def remake(path: str | Path, out: str | Path | None = None) -> list[Path]:
    """Make the figure of a recipe file again, beside it or in the folder ``out``; with the same versions on
    the same machine the files are the same, byte for byte."""
    recipe = Recipe.read(path)
    return write(recipe, make_folder(Path(path).parent if out is None else out))


def write(recipe: Recipe, folder: Path, results: Results | None = None) -> list[Path]:
    """The files of one recipe."""
    figure = make(recipe, results)
    # the layout is the same in all forms: solve it once, where text is as wide as on paper
    figure.set_dpi(RC["savefig.dpi"])
    with paper():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:  # the solver's last bits differ from run to run, and name clip paths in SVG
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(9)))
    files = [save(figure, folder / f"{recipe.name}.{form}", recipe.line) for form in FORMS]
    text = to_json(recipe.to_dict(), indent=1) + "\n"
    return [*files, write_file(folder / f"{recipe.name}.json", text)]
