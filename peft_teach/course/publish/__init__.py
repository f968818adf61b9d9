"""From the source of a lesson to its notebooks, and to the folder that students get."""
