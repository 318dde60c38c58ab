"""Maps written region by region, and all that a store holds."""
