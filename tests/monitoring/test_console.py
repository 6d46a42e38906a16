"""The files that the console consists of, and what its page may do."""

import re

from wshub.monitoring.console import FOLDER, PAGES, list_assets, make_policy


def test_everything_that_the_files_name_is_there():
    """Whatever the page links to, and a module imports, is served; with its type."""
    assets = list_assets()
    page = assets[FOLDER][1]
    named = re.findall(r'(?:href|src)="(/[^"]+)"', page)
    assert len(named) == 4
    for path, (_, text) in assets.items():
        if path.endswith(".js"):
            named += [FOLDER + name for name in re.findall(r'from "\./([^"]+)"', text)]
    assert set(named) <= set(assets)
    assert {assets[name][0] for name in named} == {
        "text/css; charset=utf-8",
        "text/javascript; charset=utf-8",
        "image/svg+xml",
    }
    assert "/favicon.ico" in assets


def test_every_module_is_used():
    """No file is left over."""
    texts = "".join(text for _, text in list_assets().values())
    for file in (PAGES / "console").iterdir():
        assert file.name == "index.html" or file.name in texts


def test_nothing_is_inline():
    """The policy allows no script or style in the page, and no module makes HTML of what it is told."""
    page = list_assets()[FOLDER][1]
    assert not re.search(r"<style|\bstyle=|\son\w+=|<script(?! type=\"module\" src=)|javascript:", page)
    for path, (_, text) in list_assets().items():
        if path.endswith(".js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text
            ), path
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path


def test_policy():
    """Its own files, its own data, the WebSockets of the hub, and nothing else."""
    policy = dict(each.partition(" ")[::2] for each in make_policy(["ws://localhost:80", "wss://x:1"]).split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self' ws://localhost:80 wss://x:1"
    assert policy["frame-ancestors"] == "'none'"
