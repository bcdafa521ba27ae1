"""Live theory curves: a plain function, and sliders over it where ipywidgets is installed."""

from __future__ import annotations

from html import escape
from typing import Any

from matplotlib.axes import Axes

from ..base import arguments
from ..base.errors import SpannormError
from ..gaussian.activations import ACTIVATIONS
from ..prediction.predict import predict
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from ..spec.placements import PLACEMENTS
from ..spec.scalings import SCALINGS
from .canvas.paper import PaperFigure, render
from .panels import panels
from .profiles import depth_profile

QUANTITIES = {
    "forward variance": "variance",
    "gradient variance": "grad_variance",
    "distance from rank one": "rank_collapse",
}


def overview(arch: Architecture | str, *, networks: int = 0, seed: int = 0) -> PaperFigure:
    """Variance, gradient and rank collapse of one architecture against depth.

    Args:
        arch: an architecture, or its text form.
        networks: independent networks to measure beside the theory, at least 3; 0 for theory alone.
        seed: of the networks.

    Returns:
        the figure, with a method ``savefig``.

    Raises:
        InputError: a value that cannot be used.
        AssumptionError: the theory does not cover the architecture.

    Example:
        >>> import spannorm_theory as st
        >>> figure = st.plot.overview("pre-norm depth=2 width=64 heads=2 tokens=8")
        >>> len(figure.axes)
        3
    """
    arch, networks, seed = architecture(arch), arguments.whole("networks", networks), arguments.seed(seed)
    if networks:
        from ..verification.verification import verify

        table = verify(arch, networks=networks, seed=seed, progress=False).table
    else:
        table = predict(arch)

    def drawing(quantity: str) -> Any:
        def draw(ax: Axes) -> None:
            depth_profile(table, quantity, stream="all", ax=ax, names=False)

        return draw

    return panels({title: drawing(name) for title, name in QUANTITIES.items()}, height=2.0)


class Explorer:
    """Sliders over :func:`overview`, for a notebook.

        st.plot.Explorer().show()

    Attributes:
        controls: the widgets by name; setting a ``value`` redraws.
        start: the architecture at first; None for a small one.
        networks: that its button simulates.
    """

    def __init__(self, start: Architecture | str | None = None, networks: int = 8) -> None:
        """Build the widgets.

        Args:
            start: where the sliders stand at first.
            networks: that the button simulates.

        Raises:
            ImportError: ipywidgets is not installed.
        """
        import ipywidgets as widgets

        start = architecture("span-norm unit depth=24 tokens=32" if start is None else start)
        self._start, self._networks = start, arguments.whole("networks", networks, 3)

        def choice(values: Any, value: Any, text: str) -> Any:
            return widgets.Dropdown(
                options=list(dict.fromkeys([*values, value])), value=value, description=text
            )

        def slider(values: list[Any], value: Any, text: str) -> Any:
            values = sorted({*values, value})
            return widgets.SelectionSlider(
                options=values, value=value, description=text, continuous_update=False
            )

        self.controls: dict[str, Any] = {
            "placement": choice(PLACEMENTS, start.placement, "placement"),
            "scaling": choice(SCALINGS, start.scaling, "scaling"),
            "activation": choice(ACTIVATIONS, start.activation, "activation"),
            "depth": slider([4, 8, 12, 24, 48, 96, 200, 500, 1000], start.depth, "depth"),
            "width": slider([64, 128, 256, 512, 1024, 4096], start.width, "width"),
            "tokens": slider([8, 16, 32, 64, 128], start.tokens, "tokens"),
            "input_cosine": slider([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99], start.input_cosine, "rho_0"),
        }
        self._image = widgets.Image(format="png", layout={"max_width": "100%"})
        self._message = widgets.HTML()
        self._button = widgets.Button(
            description=f"measure {networks} networks", layout={"width": "max-content"}
        )
        self._button.on_click(lambda _: self._draw(self._networks))
        for control in self.controls.values():
            control.observe(lambda _: self._draw(), names="value")
        rows = list(self.controls.values())
        self.widget = widgets.VBox(
            [widgets.HBox(rows[:3]), widgets.HBox(rows[3:]), self._button, self._message, self._image]
        )
        self._draw()

    @property
    def arch(self) -> Architecture:
        """The architecture that the sliders say.

        Raises:
            InputError: a combination that no architecture can have.
        """
        return self._start.with_(**{name: control.value for name, control in self.controls.items()})

    def _draw(self, networks: int = 0) -> None:
        self._message.value = "measuring ..." if networks else ""
        try:
            arch = self.arch
            self._image.value = render(overview(arch, networks=networks), "png")
            self._message.value = f"<code>{escape(str(arch))}</code>"
        except SpannormError as error:
            self._message.value = escape(str(error))

    def show(self) -> None:
        """Display the sliders and the figure."""
        from IPython.display import display

        display(self.widget)  # type: ignore[no-untyped-call]
