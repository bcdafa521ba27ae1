"""What a user writes down: graph, net, placements, scaling rules, architecture; nothing is computed."""
