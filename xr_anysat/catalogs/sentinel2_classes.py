"""Scene classification of Sentinel-2 Level-2A products (ESA, S2-PDGS-TAS-DI-PSD)."""

__all__ = ["SCL_CLASSES", "SCL_UNUSABLE"]

SCL_CLASSES = {
    0: "no data",
    1: "saturated or defective",
    2: "dark area or topographic shadow",
    3: "cloud shadow",
    4: "vegetation",
    5: "not vegetated",
    6: "water",
    7: "unclassified",
    8: "cloud medium probability",
    9: "cloud high probability",
    10: "thin cirrus",
    11: "snow or ice",
}

SCL_UNUSABLE = (0, 1, 3, 8, 9, 10)
"""Classes that show no ground, or not well."""
