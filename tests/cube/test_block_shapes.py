"""Blocks of lazy cubes: of the shape that their chunks declare, or refused."""

import numpy as np
import pytest
import xarray as xr
from support.cubes import make_cube
from support.findings import finds

from xr_anysat import CubeError
from xr_anysat.cube.block_shapes import check_blocks


def test_blocks_as_declared_pass():
    cube = make_cube(8, 8).chunk(x=3, time=1).assign_attrs(nodata=3)
    cube.encoding = {"_FillValue": 1}
    checked = check_blocks(cube)
    xr.testing.assert_identical(checked.compute(), cube.compute())
    assert checked.chunks == cube.chunks
    assert checked.encoding == cube.encoding
    assert checked.data.name == check_blocks(cube).data.name
    dataset = cube.to_dataset("band").assign(loaded=("y", np.ones(8)))
    xr.testing.assert_identical(check_blocks(dataset).compute(), dataset.compute())
    for other in (make_cube(8, 8), None, "cube"):
        assert check_blocks(other) is other


@pytest.mark.parametrize("wrong", [lambda b: b[:-1], lambda b: b[None], lambda b: b.sum()])
def test_others_do_not(wrong):
    cube = make_cube(8, 8).chunk(x=4)
    cube = cube.copy(data=cube.data.map_blocks(wrong, dtype=cube.dtype, meta=cube.data._meta))
    with finds("cube.block-shape", CubeError) as raised:
        check_blocks(cube).compute(scheduler="sync")
    assert "(3, 10, 8, 4)" in str(raised.value)
