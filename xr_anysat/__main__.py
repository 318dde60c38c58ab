"""``python -m xr_anysat``."""

from .cli.app import main

main()
