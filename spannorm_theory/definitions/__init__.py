"""What is analysed: norm placements and scaling rules, each written once, and how they are traced."""
