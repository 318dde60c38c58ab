"""Messages of the library in the options of a command."""

import pytest

from xr_anysat.cli.wording import in_options

NAMES = ("mode", "patch_size", "overlap", "normalize", "date", "band", "mask", "nodata", "size",
         "weights", "dtype", "overwrite", "regions", "labels", "sample")  # fmt: skip
OPTIONS = {name: f"--{name.replace('_', '-')}" for name in NAMES}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        # arguments with a value
        ("overlap=1.0 is not a share", "--overlap 1.0 is not a share"),
        ("the nearest is patch_size=30.", "the nearest is --patch-size 30."),
        ("normalize=\"none\" or dtype='float16'", "--normalize none or --dtype float16"),
        ("delete it with overwrite=True.", "delete it with --overwrite."),
        ("regions='a b' is no share", "--regions 'a b' is no share"),
        # arguments without one
        ("look at mask=, at the dates", "look at --mask, at the dates"),
        ("bands= asks for {'B2': 3}", "--band asks for {'B2': 3}"),
        ("overwrite=True with regions= would", "--overwrite with --regions would"),
        # mappings and lists
        ('name it: cube.anysat.embed(bands={"B2": "my_blue"}).', "name it: --band B2=my_blue."),
        ("cube.anysat.embed(bands={'B5': \"...\"}). Or", "--band B5=NAME. Or"),
        ("cube.anysat.embed(bands={'B2': 1, 'B3': 2})", "--band B2=1 --band B3=2"),
        ('dates=["2021-04-03", ...].', "--date 2021-04-03 and so on."),
        # calls
        ("take Model('base')", "take --size base"),
        ("xr_anysat.Model('tiny', weights='random')", "--size tiny --weights random"),
        ('cube.anysat.embed("pooled")', "--mode pooled"),
        (
            'cube.anysat.embed(dates=["2021-04-03"]) or cube.assign_coords(time=...).',
            "--date 2021-04-03.",
        ),
        # what stands for more than one literal
        ("cube.rio.write_nodata(0)", "--nodata 0"),
        ("give statistics: normalize=stats.", "give statistics: --normalize stats.nc."),
    ],
)
def test_what_has_an_option_is_said_with_it(message, said):
    assert in_options(message, OPTIONS, OPTIONS) == said


@pytest.mark.parametrize(
    "message",
    [
        'cube.rio.write_crs("EPSG:32631")',
        "period=(1, 2) is not (start, end)",
        "cube.anysat.band_stats(sample=0.05)",
        "odc.stac.load(..., groupby='solar_day')",
        "a.mask=1",
        "remask=1",
        "mask == 0",
        "weights=path",
        'Model("base", ...)',
        "cube.anysat.embed()",
        "cube.anysat.embed(bands={'B2': ",
        "cube.anysat.embed(overlap=0, period=(1, 2))",
    ],
)
def test_the_rest_is_left_as_it_is(message):
    assert in_options(message, OPTIONS, OPTIONS) == message


def test_options_that_only_another_command_has_are_named_at_the_end():
    own = {"overlap": "--overlap"}
    assert in_options("overlap=0 and dates=, dates=['2021-04-03']", own, OPTIONS) == (
        "--overlap 0 and dates=, dates=['2021-04-03']\n"
        "`xr-anysat embed` has options for this: --date"
    )
    assert in_options("overlap=0", own, OPTIONS) == "--overlap 0"
