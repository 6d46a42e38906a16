"""The site's pages are laid out from those of the checkout; `make docs` has Sphinx build them without a warning."""

import importlib.util
import re

import pytest

from .blocks import CHECKOUT, PAGES


@pytest.fixture
def build(tmp_path):
    """The module that builds the site, with `tmp_path` as the folder of its source."""
    spec = importlib.util.spec_from_file_location("build_site", CHECKOUT / "docs" / "site" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SOURCE = tmp_path
    return module


def test_every_page_is_in_the_site(build, tmp_path):
    """Each page has a place, and each of its links leads to another, as in the checkout."""
    build.lay_out()
    pages = {build.place(page.relative_to(CHECKOUT)) for page in PAGES}
    assert {page for page in pages if not (tmp_path / page).is_file()} == set()
    for page in tmp_path.rglob("*.md"):
        text = build.FENCED.sub("", page.read_text())
        targets = [target for _, target, _ in build.LINK.findall(text) if "://" not in target]
        assert [target for target in targets if not (page.parent / target).is_file()] == [], page


def test_the_navigation_finds_new_pages(build):
    """Every kind of page has a pattern in it, so that a page which somebody adds is in the site."""
    text = build.navigation()
    folders = {page.parent.name for page in PAGES if page.is_relative_to(CHECKOUT / "docs")} - {"docs"}
    assert {folder for folder in folders if f"\n{folder}/*\n" not in text} == set()


def test_a_link_in_code_is_code(build):
    """What looks like a link within a fenced block stays as it is."""
    files = set()
    text = "[a](docs/README.md)\n\n```python\nx[0](docs/README.md)\n```\n\n[b](deploy/nginx.conf#top)\n"
    moved = build.move_links(build.Path("README.md"), text, files)
    assert moved == text.replace("[a](docs/README.md)", "[a](contents.md)").replace(
        "deploy/nginx.conf#", "files/deploy/nginx.conf.md#"
    )
    assert list(map(str, files)) == ["deploy/nginx.conf"]


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example.org/x.css">',
        '<img src="http://example.org/x.png">',
    ],
)
def test_what_comes_from_elsewhere_is_found(build, tmp_path, html):
    """A page that would ask another host for something is named."""
    (tmp_path / "page.html").write_text(f'<a href="https://example.org/">a link is not loaded</a>{html}')
    ((page, url),) = build.find_foreign(tmp_path)
    assert page == "page.html"
    assert url == re.search('(?:src|href)="([^"]*)"', html)[1]


def test_style_sheets_are_looked_at_too(build, tmp_path):
    """A font from elsewhere is found; one of the site's own is none."""
    (tmp_path / "x.css").write_text("@import 'https://a.example/x.css'; a { b: url(//c.example/f.woff) url(own.woff) }")
    assert [url for _, url in build.find_foreign(tmp_path)] == ["https://a.example/x.css", "//c.example/f.woff"]
