"""Files of weights: found, checked, converted once, mapped."""
