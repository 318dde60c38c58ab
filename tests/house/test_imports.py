"""Imports run one way, and importing the package imports nothing large."""

import ast
import graphlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import xr_anysat
from xr_anysat.datasets import simulated_landscape

ROOT = Path(xr_anysat.__file__).parent

ROOMS = [
    "__main__",
    "cli",
    "__init__",
    "accessor",
    "catalogs",
    "learn",
    "pictures",
    "report",
    "stores",
    "embed",
    "results",
    "graph",
    "compute",
    "job",
    "cube",
    "weights",
    "model",
    "layout",
    "datasets",
    "sensors",
    "formatting",
    "atomic",
    "settings",
    "keywords",
    "errors",
    "findings",
    "_version",
]
"""Top to bottom: a room imports from rooms below it only; its modules may use one another."""


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" and parts[1:] else parts), path


NAMES = dict(modules())


def imports(name, path):
    """Modules of the package that a module imports: anywhere, in functions too."""
    package = ["xr_anysat", *name.split(".")]
    if path.name == "__init__.py":
        package = package if name != "__init__" else package[:1]
    else:
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            targets = [(module, alias.name) for alias in node.names]
        else:
            continue
        for module, attribute in targets:
            if module.partition(".")[0] != "xr_anysat":
                continue
            inner = module.removeprefix("xr_anysat").removeprefix(".")
            below = f"{inner}.{attribute}".removeprefix(".")
            yield below if below in NAMES else (inner or "__init__")


GRAPH = {name: sorted(set(imports(name, path))) for name, path in NAMES.items()}


def room(name):
    return name.partition(".")[0]


def test_the_graph_is_read_right():
    assert "embed" in GRAPH["__init__"]
    assert "model.network" in GRAPH["compute.engine"]  # so does an import within a function
    assert "model.config" in GRAPH["weights.files"]
    assert "errors" in GRAPH["model.config"]  # and one by the full name


@pytest.mark.parametrize("name", NAMES)
def test_rooms_import_rooms_below(name):
    assert room(name) in ROOMS, f"{name} is in no room"
    place = ROOMS.index(room(name))
    upwards = [other for other in GRAPH[name] if ROOMS.index(room(other)) < place]
    assert not upwards, f"{name} imports {upwards}, which are in rooms above it"


def test_modules_import_without_a_circle():
    order = graphlib.TopologicalSorter(GRAPH)
    order.prepare()  # raises a CycleError that names the circle


def test_every_room_has_its_place_once():
    assert sorted(ROOMS) == sorted({room(name) for name in NAMES})


def test_the_network_knows_no_xarray_no_dask_and_no_files():
    for name, path in NAMES.items():
        if name.partition(".")[0] == "model":
            text = path.read_text()
            for word in ("xarray", "dask", "open(", "pathlib", "rioxarray"):
                assert word not in text.replace("no xarray, no dask", ""), (name, word)


def test_only_the_lowest_layers_import_torch():
    for name, path in NAMES.items():
        top = [
            n
            for n in ast.parse(path.read_text()).body
            if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        names = {a.name for n in top if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in top if isinstance(n, ast.ImportFrom) and not n.level}
        heavy = {n.partition(".")[0] for n in names} & {"torch", "matplotlib", "sklearn"}
        assert not heavy or (heavy == {"torch"} and name.startswith("model.")), (name, heavy)


def test_importing_imports_nothing_large():
    code = """
import sys, xr_anysat
large = ("torch", "matplotlib", "sklearn", "distributed", "huggingface_hub", "transformers",
         "odc.stac", "pystac", "geopandas", "zarr", "IPython", "typer", "tqdm")
print(*(name for name in large if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_importing_registers_the_accessor():
    code = "import xarray, xr_anysat; print(xarray.DataArray.anysat, xarray.Dataset.anysat)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("xr_anysat.accessor.AnySat") == 2
    assert done.stderr == ""


def test_what_the_package_exports_is_there():
    assert all(hasattr(xr_anysat, name) for name in xr_anysat.__all__)
    assert {"embed", "Model", "AnySatError", "set_options"} <= set(xr_anysat.__all__)


def test_what_is_returned_can_be_named():
    cube = simulated_landscape((12, 12), dates=2)
    assert type(cube.anysat.check()) is xr_anysat.Check
    assert type(cube.anysat.plan()) is xr_anysat.Plan
    returned = inspect.signature(xr_anysat.to_zarr).return_annotation
    assert xr_anysat.StoreReport.__name__ in str(returned)
