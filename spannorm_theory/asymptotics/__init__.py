"""What a recursion amounts to in deep stacks: growth laws."""
