"""What the README prints is what its example prints."""

import contextlib
import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pystac
import pytest
from support.catalogs import classes, items_of, landscape

CATALOGUE = "https://earth-search.aws.element84.com/v1"
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_first_example_runs_as_printed():
    section = README.split("## A first example")[1].split("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    printed = re.search(r"```text\n(.*?)```", section, re.DOTALL)[1]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    assert out.getvalue() == printed


@pytest.fixture
def catalogue(tmp_path):
    """A STAC API of this machine that answers every search with all it has: its address, asked."""
    cube = landscape()
    items = items_of(tmp_path, cube, "c1", classes(cube))
    found = pystac.ItemCollection(items).to_dict()
    asked = []

    class Api(BaseHTTPRequestHandler):
        def answer(self, document):
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            here = f"http://{self.headers['Host']}/"
            links = [
                {"rel": rel, "href": here + path, "type": "application/json"}
                for rel, path in (("self", ""), ("root", ""), ("search", "search"))
            ]
            links.append({**links[-1], "method": "POST"})
            conforms = [
                f"https://api.stacspec.org/v1.0.0/{part}" for part in ("core", "item-search")
            ]
            self.answer(
                {"type": "Catalog", "id": "here", "description": "here", "stac_version": "1.0.0"}
                | {"links": links, "conformsTo": conforms}
            )

        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(found)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_the_search_of_a_catalogue_becomes_an_embedding(catalogue, page):
    address, asked = catalogue
    blocks = re.findall(
        r"```(?:py|\{code-block\} python)\n(.*?)```", (ROOT / page).read_text(), re.DOTALL
    )
    (code,) = (block for block in blocks if CATALOGUE in block)
    names = {}
    exec(compile(code.replace(CATALOGUE, address), page, "exec"), names)
    assert asked[0]["collections"] == ["sentinel-2-c1-l2a"]
    cube, emb = names["cube"], names["emb"]
    assert cube.sizes["time"] == 3
    assert (emb.sizes["y"], emb.sizes["x"]) == (cube.sizes["y"], cube.sizes["x"])
    assert emb.sizes["feature"] == 1536
    assert emb.chunks is not None
    assert int(cube.B02[0].max().compute()) > 1  # the items' bounds are those of the search


def test_the_two_commands_are_there_once():
    commands = [line for line in README.splitlines() if line.startswith("pip install")]
    assert [command.split("&& ")[1] for command in commands] == [
        "python -m xr_anysat demo",
        "pytest",
    ]
