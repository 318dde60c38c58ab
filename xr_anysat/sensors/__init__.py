"""What AnySat knows of each sensor, as data: one record per sensor, and a registry of them."""
