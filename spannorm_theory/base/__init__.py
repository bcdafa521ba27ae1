"""Words that everyone uses: symbols, quantities, registries, errors."""
