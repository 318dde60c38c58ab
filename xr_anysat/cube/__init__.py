"""What a cube is: its bands, dates and grid, and every fault found at once."""
