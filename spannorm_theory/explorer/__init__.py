"""The explorer: the theory's curves as one page for a browser, with the theory itself behind it."""
