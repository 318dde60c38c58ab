"""Embeddings as results: labelled, pooled, exported."""
