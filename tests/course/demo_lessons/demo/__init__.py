"""A lesson of the demonstration course."""
