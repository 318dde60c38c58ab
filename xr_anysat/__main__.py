"""``python -m xr_anysat``."""

from .cli import main

main()
