"""Build the documentation site: ``python docs/site/build.py [OUT]``, by default into build/docs.

OUT/source mirrors the repository as far as the site shows it, with the generated pages beside what is
written; OUT/html is the site, which opens from the file system and loads nothing from elsewhere. What its
pages say of placements and rules is computed for them: no number of the site is older than the code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import catalogue
import links
import mathjax
import reference
import staging
import theorems

from spannorm_theory.base.files import write_file
from spannorm_theory.explorer.write import write_explorer

ROOT = Path(__file__).resolve().parents[2]


def build(out: Path) -> None:
    """Write the sources, have Sphinx make pages of them, and check these.

    Raises:
        SystemExit: a misspelt word, an example that prints something else, a warning of Sphinx, or a
            link that leads nowhere.
    """
    source, static, beside, html = (out / name for name in ("source", "static", "beside", "html"))
    for folder in (source, static, beside, html):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    _run("codespell", "README.md", "docs", "notebooks/src", "papers/claims.toml", "papers/notes")
    _run("pytest", "-n", "2", "spannorm_theory", module=True)  # examples in docstrings
    staging.stage(source)
    staging.static(static)
    write_file(source / "theorems.md", theorems.page())
    reference.write(source / "reference")
    catalogue.write(source, beside / "figures")
    write_explorer(beside / "explorer", documentation="../")
    mathjax.fetch(out / "npm", static / "mathjax")
    here = Path(__file__).resolve().parent
    flags = ["-q", "-W", "--keep-going", "-n", "-c", str(here), "-d", str(out / "doctrees")]
    flags += ["-D", f"html_static_path={here / 'static'},{static}", "-D", f"html_extra_path={beside}"]
    _run("sphinx", "-b", "html", *flags, str(source), str(html), module=True)
    broken = links.broken(html)
    if broken:
        sys.exit("\n".join(["links that lead nowhere:", *broken]))
    print(f"{html / 'index.html'}: {len(list(html.rglob('*.html')))} pages")


def _run(command: str, *arguments: str, module: bool = False) -> None:
    """Run a tool of this interpreter's environment from the root of the repository."""
    program = [sys.executable, "-m", command] if module else [str(Path(sys.executable).parent / command)]
    if subprocess.run([*program, *arguments], cwd=ROOT, check=False).returncode:
        sys.exit(f"make docs: {command} has something to say")


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT / "build" / "docs")
