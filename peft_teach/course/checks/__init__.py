"""What an exercise is, and what is asked of an answer to it."""
