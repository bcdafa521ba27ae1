"""The report: derive, verify and draw the standard comparison, as one folder that reads offline."""

from .write import write_report

__all__ = ["write_report"]
