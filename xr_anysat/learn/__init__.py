"""What is learned from embeddings."""
