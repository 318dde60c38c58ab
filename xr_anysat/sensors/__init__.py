"""What AnySat knows of each sensor: data only."""
