"""MathJax with its font, from npm, so that formulas show where there is no network."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

VERSION = "4.1.3"

#: what pages load: a file or folder of a package, and the folder below MathJax's where it is looked for
WANTED = (
    ("mathjax", "tex-svg.js", ""),
    ("mathjax", "LICENSE", ""),
    ("mathjax", "input/tex/extensions", ""),
    ("mathjax", "a11y/assistive-mml.js", ""),
    ("@mathjax/mathjax-newcm-font", "svg/dynamic", "mathjax-newcm-font"),
)


def fetch(store: Path, target: Path) -> None:
    """Put MathJax into the folder ``target``, from archives that ``store`` keeps.

    Raises:
        CalledProcessError: npm cannot have a package that is not in the store.
    """
    for package, wanted, place in WANTED:
        inner = store / package
        if not inner.is_dir():
            _unpack(package, store, inner)
        found, copy = inner / "package" / wanted, target / place / wanted
        copy.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, copy)
        else:
            shutil.copy(found, copy)


def _unpack(package: str, store: Path, inner: Path) -> None:
    store.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", "--silent", f"{package}@{VERSION}"]
    name = subprocess.run(command, cwd=store, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    with tarfile.open(store / name.splitlines()[-1]) as archive:
        archive.extractall(inner, filter="data")
