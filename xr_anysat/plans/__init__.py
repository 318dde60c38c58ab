"""What an embedding will take, before anything is computed."""
