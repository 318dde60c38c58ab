"""Blocks of numbers to embeddings: numpy in, numpy out; the networks that compute them."""
