"""The interactive view: what is in the page, and what a click in a real browser does."""

import re
import shutil
import sys

import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from support.cubes import NORTH, WEST, make_cube, punch
from support.findings import finds

from xr_anysat import MissingExtraError, OptionError, StoreError

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
SIMILARITY = "Array.from(Bokeh.documents[0].get_model_by_name('similarity').data.image[0])"
TITLE = "Bokeh.documents[0].get_model_by_name('similar').title.text"
PLACE = "(d => [d.x[0], d.y[0]])(Bokeh.documents[0].get_model_by_name('place').data)"


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(40, 60))


def test_the_page_holds_all_it_needs(cube, embedding, tmp_path):
    view = embedding.chunk(y=16).anysat.explore(cube)
    page = view.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "random:1 (not pretrained)" in page
    assert not re.search(r"<(script|link) [^>]*(src|href)=", page)
    frame = view._repr_html_()
    assert frame.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert frame.count('"') == 4  # of srcdoc and style: none of the page's own ends them
    assert view.shape == (40, 60)


def test_a_page_replaces_an_earlier_one_when_it_is_complete(embedding, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("earlier")
    view = embedding[:2].anysat.explore(size=10)

    def fails(self, text, **_):
        self.write_bytes(text[:100].encode())
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr("pathlib.Path.write_text", fails)
        with pytest.raises(OSError, match="disk full"):
            view.save(path)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]
    view.save(str(path))
    assert path.read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(StoreError, match="is a folder; give the name of a file"):
        view.save(tmp_path)


def test_a_fit_of_fewer_components_has_fewer_colours(embedding):
    view = embedding.anysat.explore(size=10, fit=embedding.anysat.pca_fit(2))
    assert view.shape == (7, 10)


def test_the_error_of_cosines_is_what_it_says(embedding):
    view = embedding.anysat.explore(size=30)
    assert view.shape == (20, 30)
    source = view.layout.select_one({"name": "similarity"})
    x, y = (view.layout.select_one({"name": "place"}).data[name][0] for name in ("x", "y"))
    thin = embedding[:, ::2, ::2]  # the first of each square of two
    exact = thin.anysat.similarity(embedding.sel(x=x, y=y, method="nearest")).sortby("y")
    shown = source.data["image"][0]
    np.testing.assert_array_equal(np.isnan(shown), np.isnan(exact))
    gap = np.nanmax(np.abs(shown - exact.values))
    assert 0 < gap <= view.error + 1e-6
    assert view.error < 0.05


@pytest.mark.parametrize(
    ("call", "code", "mentions"),
    [
        (lambda c, e: c.anysat.explore(), "embedding.needed", "('time', 'band', 'y', 'x')"),
        (lambda c, e: e[:, 0].anysat.explore(), "explore.needs-map", "('feature', 'x')"),
        (lambda c, e: e.anysat.explore(size=0), "option.whole", "size=0"),
        (lambda c, e: (e * np.nan).anysat.explore(), "explore.no-values", ""),
    ],
)
def test_errors_say_what_is_needed(call, code, mentions, cube, embedding):
    with finds(code, OptionError) as raised:
        call(cube, embedding)
    assert mentions in str(raised.value)


def test_a_missing_package_is_named_with_its_extra(embedding, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh.plotting", None)
    with finds("extra.missing", MissingExtraError) as raised:
        embedding.anysat.explore()
    assert '"xr-anysat[explore]"' in str(raised.value)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("there is no Chromium")
    profile = tmp_path_factory.mktemp("profile")
    with sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            profile, executable_path=BROWSER, headless=True, args=FLAGS, offline=True,
            viewport={"width": 1280, "height": 600},
        )  # fmt: skip
        yield context
        context.close()


def test_a_click_shows_what_is_like_the_place(browser, cube, embedding, tmp_path):
    view = embedding.anysat.explore(cube)
    page = browser.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.goto(view.save(tmp_path / "page.html").as_uri())
    page.wait_for_function("window.Bokeh && Bokeh.documents[0]?.is_idle")
    before = page.evaluate(PLACE)
    places = []
    for at in ((150, 150), (190, 180), (550, 180)):  # the last in another panel
        page.mouse.click(*at)
        page.wait_for_function(f"JSON.stringify({PLACE}) != '{_json(before)}'")
        before = page.evaluate(PLACE)
        places.append(before)
        shown = np.array(page.evaluate(SIMILARITY), dtype=float).reshape(40, 60)
        exact = embedding.anysat.similarity(before).sortby("y").values
        np.testing.assert_array_equal(np.isnan(shown), np.isnan(exact))
        assert np.nanmax(np.abs(shown - exact)) <= view.error + 1e-5
        assert "cosine similarity to" in page.evaluate(TITLE)
    metres = 600 / 300  # of a pixel of the screen
    assert places[1][0] - places[0][0] == pytest.approx(40 * metres, abs=10)
    assert places[1][1] - places[0][1] == pytest.approx(-30 * metres, abs=10)
    assert WEST < places[2][0] < WEST + 600
    assert NORTH - 400 < places[2][1] < NORTH
    assert places[2][1] == places[1][1]
    hole = WEST + 60, NORTH - 60
    page.mouse.click(
        150 + (hole[0] - places[0][0]) / metres, 150 - (hole[1] - places[0][1]) / metres
    )
    page.wait_for_function(f"{TITLE}.startsWith('no data at')")
    assert np.isnan(np.array(page.evaluate(SIMILARITY), dtype=float)).all()
    assert wrong == []
    page.close()


def _json(numbers):
    return "[" + ",".join(f"{number:.12g}" for number in numbers) + "]"
