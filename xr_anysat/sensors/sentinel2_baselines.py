"""Processing baselines of Sentinel-2 products, and the offset that the newer ones add to DN."""

__all__ = [
    "BASELINE_PROPERTIES",
    "OFFSET_APPLIED",
    "OFFSET_BASELINE",
    "OFFSET_BEGAN",
    "OFFSET_DN",
]

OFFSET_BASELINE = 4.0
"""First processing baseline whose DN are higher (ESA, S2-PDGS-TAS-DI-PSD)."""

OFFSET_BEGAN = "2022-01-25"
"""Images from this day on are of that baseline or a later one, as are older images that were
processed again (ESA, S2-PDGS-TAS-DI-PSD)."""

OFFSET_DN = 1000
"""How much higher, in every band: BOA_ADD_OFFSET of Level-2A, RADIO_ADD_OFFSET of Level-1C."""

BASELINE_PROPERTIES = ("s2:processing_baseline", "processing:version")
"""Properties of STAC items that hold the baseline, "05.10"."""

OFFSET_APPLIED = "earthsearch:boa_offset_applied"
"""Property of the items of Earth Search's sentinel-2-l2a: whether it removed the offset from the
files itself. The offset that its bands state is that of the product, which depends on the baseline
alone, and is the same whether this is true or false."""
