"""The words of a user: graph, net, placements, scaling rules, architecture; nothing is computed."""
