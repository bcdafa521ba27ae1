"""Theory against Monte Carlo: estimators, allowances, verdict."""
