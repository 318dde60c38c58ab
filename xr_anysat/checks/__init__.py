"""What is understood of a cube, and what is doubtful about it."""
