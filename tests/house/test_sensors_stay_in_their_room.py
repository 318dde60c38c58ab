"""No room but `sensors` and `catalogs` asks which sensor it has: the records say what is so."""

import ast
from pathlib import Path

import pytest

import xr_anysat
from xr_anysat.sensors import aerial, alos, landsat, modis, naip, sentinel1, sentinel2, spot
from xr_anysat.sensors.record import Sensor
from xr_anysat.sensors.registry import SENSORS

ROOT = Path(xr_anysat.__file__).parent
ROOMS = {"sensors", "catalogs"}
RECORDS = {
    name
    for module in (aerial, alos, landsat, modis, naip, sentinel1, sentinel2, spot)
    for name, value in vars(module).items()
    if isinstance(value, Sensor)
}

OPEN: dict[str, str] = {}
"""Modules still to be mended, each with its reason."""


def named(node: ast.AST | None) -> bool:
    """Whether an expression is a sensor's key or record, or holds one."""
    return node is not None and any(
        (isinstance(part, ast.Constant) and part.value in SENSORS)
        or (isinstance(part, ast.Name) and part.id in RECORDS)
        for part in ast.walk(node)
    )


def questions(code: str) -> list[int]:
    """Lines that compare a sensor, look something up by it, or spell a projector's name."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Compare(left=left, comparators=others):
                asked = any(map(named, (left, *others)))
            case ast.MatchValue(value=value) | ast.Subscript(slice=value):
                asked = named(value)
            case ast.Dict(keys=keys):
                asked = any(map(named, keys))
            case ast.Set(elts=parts):
                asked = any(map(named, parts))
            case ast.Call(func=ast.Attribute(attr="get" | "startswith" | "endswith"), args=args):
                asked = any(map(named, args))
            case ast.Constant(value=str(text)):
                asked = any(f"projector_{key}" in text for key in SENSORS)
            case ast.Attribute(attr=attribute):
                asked = attribute.startswith("projector_")
            case _:
                asked = False
        if asked:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    "code",
    [
        'if sensor == "s2": pass',
        'x = key in ("l7", "alos")',
        "x = sensor is SENTINEL2",
        "x = spec.sensor != SENTINEL1",
        'match key:\n    case "modis": pass',
        'x = bands["s1-asc"]',
        'x = {"aerial": 4}',
        "x = {ALOS: 30}",
        'x = frozenset({"s2"})',
        'x = table.get("naip")',
        'x = name.startswith("projector_s2.")',
        "x = network.projector_s2",
    ],
)
def test_questions_are_found(code):
    assert questions(code)


def test_naming_a_sensor_is_no_question():
    assert questions('cube.rename("s2"); f(SENTINEL2); x = "s2"; y = {"band": BANDS}[0]') == []


def test_no_other_room_asks_which_sensor_it_has():
    asked = {
        name: questions(path.read_text())
        for path in ROOT.rglob("*.py")
        if (name := path.relative_to(ROOT).as_posix()).partition("/")[0] not in ROOMS
    }
    assert {name: lines for name, lines in asked.items() if lines and name not in OPEN} == {}
    assert [name for name in OPEN if not asked.get(name)] == []  # each is still to be mended
