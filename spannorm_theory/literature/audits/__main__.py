"""Print the page of audits."""

from .page import document

print(document(), end="")
