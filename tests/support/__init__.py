"""What several test modules need: cubes, stores, catalogues, strategies, reference numbers."""
