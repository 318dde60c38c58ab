"""Probes: what is drawn, how it is cross-validated, and what the table says."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from support.cubes import TINY
from support.findings import finds

from xr_anysat import OptionError
from xr_anysat.cube.canonical import understand
from xr_anysat.datasets import simulated_landscape
from xr_anysat.learn.cross_validate import score
from xr_anysat.learn.probe import band_features, probe
from xr_anysat.learn.samples import draw_samples


@pytest.fixture(scope="module")
def cube():
    return simulated_landscape((64, 60), dates=4)


def drawn(cube, labels=None, **options):
    return draw_samples(understand(cube), labels, **options)


def test_samples_are_labelled_valid_and_evenly_from_the_classes(cube):
    samples = drawn(cube, pixels=400)
    truth = cube["land_cover"].values[samples.rows, samples.columns]
    np.testing.assert_array_equal(samples.labels, truth)
    assert (cube.values[:, 0, samples.rows, samples.columns] != 0).any(axis=0).all()
    _, counts = np.unique(samples.labels, return_counts=True)
    assert counts.max() <= max(20, 400 // len(counts))
    np.testing.assert_array_equal(samples.blocks, samples.rows // 16 * 4 + samples.columns // 16)
    assert len(set(zip(samples.rows, samples.columns, strict=True))) == len(samples.rows)


def test_the_same_seed_draws_the_same(cube):
    first, again, other = (drawn(cube, pixels=200, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.rows, again.rows)
    assert first.rows.tolist() != other.rows.tolist()


def test_pixels_without_a_label_or_a_date_are_not_drawn(cube):
    labels = cube["land_cover"].astype("float32").copy()
    labels[:, :30] = np.nan
    labels[:8] = 250
    labels.attrs = {"_FillValue": 250.0}
    mask = xr.ones_like(cube.isel(band=0, drop=True), dtype=bool)
    mask[:, 40:] = False
    samples = draw_samples(understand(cube, mask=mask), labels, block=8)
    assert samples.columns.min() >= 30
    assert samples.rows.min() >= 8
    assert samples.rows.max() < 40


def test_rare_classes_are_left_out(cube):
    labels = xr.zeros_like(cube["land_cover"])
    labels[:20], labels[20:50], labels[50:, :1] = 1, 2, 3
    labels[63, :19] = 4
    assert set(drawn(cube, labels).labels) == {1, 2}


def test_perfect_features_score_all_and_noise_scores_chance(cube):
    samples = drawn(cube, pixels=600)
    classes, index = np.unique(samples.labels, return_inverse=True)
    perfect = score(np.eye(len(classes))[index], samples)
    assert perfect["linear"] == perfect["neighbours"] == 100
    assert perfect["features"] == len(classes)
    noise = score(np.random.default_rng(0).normal(size=(len(index), 30)), samples)
    chance = 100 / len(classes)
    assert noise["linear"] < 2.5 * chance
    assert noise["neighbours"] < 2.5 * chance


def test_squares_are_left_out_whole(cube):
    """A feature that tells the square and nothing else: worthless, unless it has leaked."""
    samples = drawn(cube, pixels=600)
    place = np.eye(samples.blocks.max() + 1)[samples.blocks]
    labels = np.random.default_rng(0).permutation(samples.blocks.max() + 1)[samples.blocks] % 2
    by_square = replace(samples, labels=labels)
    assert score(place, by_square)["linear"] < 70


def test_the_table(cube):
    small = cube.isel(x=slice(40), y=slice(40))
    table = probe(small, model=TINY, overlap=0, pixels=120, folds=2, block=8, progress=False)
    assert list(table.index) == [
        "bands: mean, deviation, quantiles",
        "bands: every date",
        "AnySat tiny: local",
        "AnySat tiny, standard: context",
        "AnySat tiny, standard: both",
        "AnySat tiny, flash layout: context",
        "AnySat tiny, flash layout: both",
    ]
    assert table["features"].tolist() == [50, 40, 256, 256, 512, 256, 512]
    scores = table[["linear", "neighbours"]]
    assert ((scores >= 0) & (scores <= 100)).all(axis=None)
    assert (
        scores.loc["bands: every date"].min() > scores.loc["AnySat tiny, standard: context"].max()
    )
    standard, flash = (f"AnySat tiny, {name}: context" for name in ("standard", "flash layout"))
    assert (table.loc[standard] != table.loc[flash]).any()
    assert table.attrs["weights"] == TINY.source.description


def test_lazy_and_turned_cubes_score_the_same(cube):
    options = {"model": TINY, "overlap": 0, "layouts": (False,), "pixels": 100, "folds": 2}
    options |= {"block": 8, "progress": False}
    small = cube.isel(time=slice(0, 2), x=slice(0, 32), y=slice(0, 32))
    expected = probe(small, **options)
    lazy = probe(small.chunk(x=17, y=24), small["land_cover"], **options)
    np.testing.assert_allclose(lazy.values, expected.values, atol=1)


def test_a_turned_cube_without_some_dates_scores_the_same(cube):
    mask = xr.ones_like(cube.isel(band=0, drop=True), dtype=bool)
    mask[1, 10:30] = False
    samples = drawn(cube, pixels=200)
    turned, back = cube.isel(y=slice(None, None, -1)), mask.isel(y=slice(None, None, -1))
    flipped = replace(samples, rows=cube.sizes["y"] - 1 - samples.rows)
    expected = band_features(understand(cube, mask=mask), samples)
    for other in (turned, turned.chunk(x=30, y=32)):
        features = band_features(understand(other, mask=back), flipped)
        for name, values in expected.items():
            np.testing.assert_allclose(features[name], values)
    by_hand = cube.values[:, :, samples.rows, samples.columns].astype(float)
    seen = (by_hand != 0).all(axis=1) & mask.values[:, samples.rows, samples.columns]
    by_hand[~np.broadcast_to(seen[:, None], by_hand.shape)] = np.nan
    means = expected["bands: mean, deviation, quantiles"][:, :10]
    np.testing.assert_allclose(means, np.nanmean(by_hand, axis=0).T)


@pytest.mark.parametrize("option", ["mode", "input_prep", "geometry"])
def test_options_that_do_not_go(cube, option):
    with finds("probe.pixels-only", OptionError) as raised:
        probe(cube, model=TINY, **{option: "tile"})
    assert f"{option}=" in str(raised.value)


@pytest.mark.parametrize(
    ("labels", "code", "mentions"),
    [
        (lambda c: c["land_cover"].values, "labels.dimensions", "ndarray"),
        (lambda c: c["land_cover"].isel(x=0), "labels.dimensions", "('y',)"),
        (lambda c: c["land_cover"].isel(x=slice(2, None)), "labels.other-grid", "odc.reproject"),
        (lambda c: c["land_cover"] + 0.5, "labels.fractions", "labels="),
        (lambda c: xr.ones_like(c["land_cover"]), "labels.too-few", "1 class with at least 20"),
    ],
)
def test_labels_that_do_not_fit(cube, labels, code, mentions):
    with finds(code, OptionError) as raised:
        drawn(cube, labels(cube))
    assert mentions in str(raised.value)


def test_a_cube_without_labels(cube):
    with finds("labels.absent", OptionError) as raised:
        drawn(cube.drop_vars("land_cover"))
    assert "labels=" in str(raised.value)
