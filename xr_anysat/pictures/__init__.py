"""What is made of embeddings and cubes to look at."""
