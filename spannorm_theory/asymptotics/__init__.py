"""What a recurrence amounts to in deep stacks: growth laws."""
