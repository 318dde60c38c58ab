"""What embeddings are given as: labelled, pooled, exported."""
