"""Execute every notebook source in ``src`` and write it, with outputs, beside this file.

Sources are py:percent text; the executed notebooks are byte-stable: cell ids are their positions, and no
timing, path or environment is recorded. Widgets (progress bars, sliders) live in a running kernel only and
are left out; pictures keep a palette of colours, a third of their bytes. A cell that warns or prints to
stderr is an error.

    python notebooks/build.py [NAME ...]
"""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

from spannorm_theory.base.files import write_file

HERE = Path(__file__).parent
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURE = "image/png"
#: of a picture's palette
COLOURS = 96


def joined(outputs: list[Any]) -> list[Any]:
    """Outputs with consecutive pieces of one text stream joined: where the kernel cuts them is chance."""
    result: list[Any] = []
    for output in outputs:
        last = result[-1] if result else None
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        elif WIDGET not in output.get("data", {}):
            result.append(output)
    return result


def small(picture: str) -> str:
    """A picture in base64 with a palette of its own."""
    buffer = BytesIO()
    image = Image.open(BytesIO(b64decode(picture))).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return b64encode(buffer.getvalue()).decode()


def build(source: Path, target: Path) -> None:
    """Execute ``source`` and write the notebook ``target``.

    Raises:
        RuntimeError: a cell wrote to stderr.
    """
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    )
    client = NotebookClient(
        notebook,
        timeout=3600,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(HERE)}},
    )
    client.execute()
    for position, cell in enumerate(notebook.cells):
        cell.id = f"cell-{position}"
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
            for output in cell.outputs:
                if output.output_type == "stream" and output.name == "stderr":
                    raise RuntimeError(f"{source.name}, cell {position}: {output.text}")
                if PICTURE in output.get("data", {}):
                    output.data[PICTURE] = small(output.data[PICTURE])
    notebook.metadata.pop("language_info", None)
    notebook.metadata.pop("widgets", None)
    write_file(target, nbformat.writes(notebook).rstrip("\n") + "\n")


if __name__ == "__main__":
    chosen = set(sys.argv[1:])
    for path in sorted((HERE / "src").glob("*.py")):
        if not chosen or path.stem in chosen:
            build(path, HERE / f"{path.stem}.ipynb")
            sys.stdout.write(f"{path.stem}.ipynb\n")
