"""Write the standard set of figures, or make one again from its recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

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
) -> list[Path]:
    """Write the standard set for a venue: each figure as PDF, SVG and PNG, and its recipe as JSON.

    The recipe (architectures, seed, versions) is in each file's metadata too. ``verification.tex`` holds
    the outcome of every comparison, ready for LaTeX.

    Args:
        out: a folder, made if it does not exist; files of the same names are replaced.
        placements: registered names; None takes the eight standard ones.
        style: "neurips", "icml", "iclr", "tmlr", "talk" or "house".

    Returns:
        the files.

    Raises:
        InputError: a name, size or folder that cannot be used.
    """
    out, seed = arguments.path("out", out), arguments.seed(seed)
    style, networks = (
        arguments.choice("style", style, STYLES),
        arguments.whole("networks", networks, 3, why="for a standard error"),
    )
    archs = architectures(placements, scalings, depth, width, heads, tokens)
    recipes = list(standard_set(archs, style, networks, seed))
    folder = make_folder(out)
    results, files = Results(), []
    for recipe in tqdm(recipes, desc="figures", disable=not progress):
        files += write(recipe, folder, results)
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
