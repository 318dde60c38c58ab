"""Remedies in the options of a command."""

import pytest

from xr_anysat.cli.words import Words
from xr_anysat.findings import Advice, Call, Finding, SetOption

NAMES = ("mode", "patch_size", "overlap", "normalize", "date", "band", "mask", "nodata", "size",
         "weights", "dtype", "overwrite", "regions", "labels", "sample")  # fmt: skip
OPTIONS = {name: f"--{name.replace('_', '-')}" for name in NAMES}


@pytest.mark.parametrize(
    ("remedy", "text"),
    [
        (SetOption("overlap", 1.0), "--overlap 1.0"),
        (SetOption("patch_size", 30), "--patch-size 30"),
        (SetOption("normalize", "none"), "--normalize none"),
        (SetOption("overwrite", True), "--overwrite"),
        (SetOption("regions", "a b"), "--regions 'a b'"),
        (SetOption("regions", "$(rm -r .)"), "--regions '$(rm -r .)'"),
        (SetOption("mask"), "--mask"),
        (SetOption("bands"), "--band"),
        (SetOption("bands", {"B2": "my_blue"}), "--band B2=my_blue"),
        (SetOption("bands", {"B2": 1, "B3": "my green"}), "--band B2=1 --band 'B3=my green'"),
        (SetOption("bands", {"B5": ...}), "--band B5=NAME"),
        (SetOption("dates", ["2021-04-03", "2021-05-03"]), "--date 2021-04-03 --date 2021-05-03"),
        (SetOption("dates", ["2021-04-03", ...]), "--date 2021-04-03 and so on"),
        (SetOption("size", "base", python='Model("base")'), "--size base"),
        (SetOption("nodata", 0, python="cube.rio.write_nodata(0)"), "--nodata 0"),
        (SetOption("normalize", python="normalize=s", command="{} s.nc"), "--normalize s.nc"),
    ],
)
def test_what_has_an_option_is_worded_with_it(remedy, text):
    words = Words(OPTIONS, OPTIONS)
    assert words(remedy) == text
    assert not words.elsewhere


@pytest.mark.parametrize(
    ("remedy", "text"),
    [
        (Call("cube.rio.write_nodata(0)"), "cube.rio.write_nodata(0)"),
        (Call("cube.anysat.embed(overlap=0)"), "cube.anysat.embed(overlap=0)"),
        (Advice("use overlap=0"), "use overlap=0"),
        (SetOption("period", [1, 2]), "period=[1, 2]"),
        (SetOption("overwrite", False), "overwrite=False"),
        (SetOption("mask", [1]), "mask=[1]"),
        (SetOption("weights", None), "weights=None"),
        (SetOption("period", python="period=..."), "period=..."),
    ],
)
def test_the_rest_is_python(remedy, text):
    assert Words(OPTIONS, OPTIONS)(remedy) == text


def test_options_that_only_another_command_has_are_remembered():
    words = Words({"overlap": "--overlap"}, OPTIONS)
    assert words(SetOption("overlap", 0)) == "--overlap 0"
    assert words(SetOption("dates")) == words(SetOption("dates")) == "dates="
    assert words(SetOption("overwrite", True)) == "overwrite=True"
    assert list(words.elsewhere) == ["--date", "--overwrite"]


def test_data_is_left_alone():
    path, names = "/data/date=2021-07-12/{0}.zarr", ["overlap=0", "mask="]
    finding = Finding("file.several", SetOption("variable", "overlap=0"), path=path, names=names)
    text = finding.render(Words(OPTIONS | {"variable": "--variable"}, OPTIONS))
    assert path in text
    assert str(names) in text
    assert "--variable overlap=0" in text
