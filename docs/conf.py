"""Sphinx: `sphinx-build -W docs build/docs`."""

import os

import sphinx_autosummary_accessors

import xr_anysat

project = "xr_anysat"
author = "xr_anysat developers"
copyright = "xr_anysat developers"
version = release = xr_anysat.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_autosummary_accessors",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc says them in words
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "auto"  # pages; notebooks come with their outputs
nb_execution_excludepatterns = ["notebooks/*"]
nb_execution_timeout = 300
nb_execution_raise_on_error = True

# without a network (XR_ANYSAT_DOCS_OFFLINE=1) names of other projects stay plain text
if not os.environ.get("XR_ANYSAT_DOCS_OFFLINE"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "xarray": ("https://docs.xarray.dev/en/stable/", None),
        "dask": ("https://docs.dask.org/en/stable/", None),
        "shapely": ("https://shapely.readthedocs.io/en/stable/", None),
        "rioxarray": ("https://corteva.github.io/rioxarray/stable/", None),
        "pystac": ("https://pystac.readthedocs.io/en/stable/", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = "xr_anysat"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_sidebars = {"**": ["all_pages"]}  # the theme's own shows the pages below this one, mostly none
html_theme_options = {
    "navbar_center": [],  # would show five pages and hide the others in a menu
    "navigation_with_keys": False,
    "show_toc_level": 2,
}
html_show_sourcelink = False
