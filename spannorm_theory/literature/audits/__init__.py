"""Statements of the literature that contradict each other or their code, put to the test at initialisation.

``python -m spannorm_theory.literature.audits > docs/audits.md`` writes the table.
"""

from .audit import Audit, Measured
from .catalogue import audits
from .page import document

__all__ = ["Audit", "Measured", "audits", "document"]
