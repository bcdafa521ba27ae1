"""Published claims as executable lines: papers/claims.toml, and what decides and checks each of them.

A claim names a small function that decides it from the theory (:mod:`.facts`) and Monte Carlo checks that
hold random networks against it. The verdict is computed from both and compared with the recorded one.
"""

from .claim import Claim, load_claims
from .run import ClaimsReport, claims

__all__ = ["Claim", "ClaimsReport", "claims", "load_claims"]
