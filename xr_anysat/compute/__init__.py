"""Blocks of numbers to embeddings: numpy in, numpy out, and the networks at work."""
