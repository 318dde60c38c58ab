"""All sensors of the published network."""

from collections.abc import Mapping

from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption

from .aerial import AERIAL, AERIAL_FLAIR
from .alos import ALOS
from .landsat import LANDSAT7, LANDSAT8
from .modis import MODIS
from .naip import NAIP
from .record import Sensor
from .sentinel1 import SENTINEL1, SENTINEL1_ASC
from .sentinel2 import SENTINEL2
from .spot import SPOT

__all__ = ["DEFAULT", "PUBLISHED", "SENSORS", "get_sensor"]

SENSORS: Mapping[str, Sensor] = {
    sensor.key: sensor
    for sensor in (
        SENTINEL2, SENTINEL1_ASC, SENTINEL1, LANDSAT8, LANDSAT7, ALOS, MODIS, SPOT, NAIP, AERIAL,
        AERIAL_FLAIR,
    )
}  # fmt: skip
"""By key. Adding one: a module with its record, and its place here."""

PUBLISHED = tuple(SENSORS)
"""Keys of the sensors whose projectors are in published checkpoints. A new sensor is not."""

DEFAULT = SENTINEL2
"""The sensor of a cube that does not say another."""


def get_sensor(key: str) -> Sensor:
    """Look a sensor up by its key.

    Raises
    ------
    OptionError
        For an unknown key.
    """
    if key not in SENSORS:
        raise OptionError("sensor.unknown", given=SetOption("sensor", key), known=list(SENSORS))
    return SENSORS[key]
