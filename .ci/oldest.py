"""Print the floors of pyproject.toml as exact pins: what the oldest supported set is.

Where another package needs a later one, pip says so.
"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
requirements = list(project["dependencies"])
for extra in project["optional-dependencies"].values():
    requirements += extra
for requirement in sorted(set(requirements)):
    found = re.fullmatch(r"([\w-]+)(\[[\w,]+\])?>=([\w.]+)", requirement)
    if found:
        print(f"{found[1]}=={found[3]}")  # noqa: T201
