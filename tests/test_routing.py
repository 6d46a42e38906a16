"""Which URL names which service, and that no URL leaves the folder."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wshub.errors import ServiceNotFound
from wshub.routing import MAX_DEPTH, RouteTree, ServiceFolder, format_route, parse_route, parse_segment, split_path

bounded = settings(deadline=None, max_examples=400)

FILES = [
    "ws_service.py",
    "foo.py",
    "foo.html",
    "foo/ws_service.py",
    "foo/bar.py",
    "foo/a-b_2.py",
    "ümlaut.py",
    "時計.py",
    "_private.py",
    "__init__.py",
    ".hidden.py",
    ".git/config.py",
    "_x/y.py",
    "-dash.py",
    "two.dots.py",
    "notes.txt",
    "page_only.html",
    "directory.py/readme.txt",
]
LINKS = {
    "inside.py": "foo.py",
    "linked": "foo",
    "out.py": "../outside/secret.py",
    "out.html": "../outside/secret.html",
    "outside": "../outside",
    "absolute.py": "/etc/passwd",
    "nowhere.py": "no/such/file.py",
    "loop.py": "loop.py",
}
ROUTES = [
    ("",),
    ("foo",),
    ("foo", ""),
    ("foo", "a-b_2"),
    ("foo", "bar"),
    ("inside",),
    ("ümlaut",),
    ("時計",),
]


def parse_path(path):
    """The route of a URL's path."""
    return parse_route(split_path(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of services with everything in it that might go wrong."""
    base = tmp_path_factory.mktemp("base")
    root = base / "root"
    for file in [*(root / name for name in FILES), base / "outside/secret.py", base / "outside/secret.html"]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    for link, target in LINKS.items():
        (root / link).symlink_to(target)
    return ServiceFolder(root)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "ws_service.py"),
        ("/foo", "foo.py"),
        ("/foo/", "foo/ws_service.py"),
        ("/foo/bar", "foo/bar.py"),
        ("/foo/a-b_2", "foo/a-b_2.py"),
        ("/%66oo/b%61r", "foo/bar.py"),
        ("/%C3%BCmlaut", "ümlaut.py"),
        ("/%e6%99%82%e8%a8%88", "時計.py"),
        ("/inside", "inside.py"),
        ("/linked/bar", "linked/bar.py"),
        ("/linked/", "linked/ws_service.py"),
    ],
)
def test_found(folder, path, file):
    """A URL's path names the module that the folder's layout says, links that stay inside included."""
    assert folder.module(parse_path(path.encode())) == folder.root / file


NOT_FOUND = {
    "no such file": "/nothing",
    "no such folder": "/nothing/",
    "folder without a service of its own": "/foo/bar/",
    "file as a folder": "/foo/bar/baz",
    "parent": "/../outside/secret",
    "parent in the middle": "/foo/../foo",
    "this": "/./foo",
    "encoded parent": "/%2e%2e/outside/secret",
    "half encoded parent": "/.%2e/outside/secret",
    "encoded slash": "/foo%2fbar",
    "encoded backslash": "/foo%5cbar",
    "backslash": "/..\\outside\\secret",
    "escape within an escape": "/%252e%252e/outside/secret",
    "escaped slash within an escape": "/foo%252fbar",
    "absolute in a segment": "/%2fetc%2fpasswd",
    "NUL": "/foo%00",
    "NUL before the suffix": "/foo.py%00",
    "line break": "/foo%0a",
    "space": "/foo%20",
    "bad UTF-8": "/foo%ff",
    "overlong UTF-8": "/%c0%ae%c0%ae/outside/secret",
    "surrogate": "/%ed%a0%80",
    "malformed escape": "/foo%",
    "not hexadecimal": "/%zzfoo",
    "5,000 characters": "/" + "a" * 5000,
    "100 characters of four bytes": "/" + quote("𐐀" * 100),
    "two slashes": "//",
    "two slashes in front": "//foo",
    "two slashes in the middle": "/foo//bar",
    "two slashes at the end": "/foo//",
    "hidden": "/.hidden",
    "hidden folder": "/.git/config",
    "hidden folder itself": "/.git",
    "private": "/_private",
    "private folder": "/_x/y",
    "package": "/__init__",
    "dash in front": "/-dash",
    "dots": "/two.dots",
    "suffix": "/foo.py",
    "another suffix": "/notes.txt",
    "page without a module": "/page_only",
    "directory with a module's name": "/directory",
    "the folder's module by its own name": "/ws_service",
    "a folder's module by its own name": "/foo/ws_service",
    "query": "/foo?x",
    "link out": "/out",
    "folder that is a link out": "/outside/secret",
    "absolute link out": "/absolute",
    "link to nothing": "/nowhere",
    "link to itself": "/loop",
    "too deep": "/a" * (MAX_DEPTH + 1),
    "deep enough to hurt": "/" * 100_000,
}


@pytest.mark.parametrize("path", NOT_FOUND.values(), ids=NOT_FOUND)
def test_not_found(folder, path):
    """Whatever names no service inside the folder is not found, and nothing else goes wrong."""
    with pytest.raises(ServiceNotFound):
        folder.module(parse_path(path.encode()))


def test_with_and_without_a_slash_are_two_routes():
    """/foo and /foo/ are two routes, which people see as they wrote them."""
    assert parse_path(b"/foo") == ("foo",)
    assert parse_path(b"/foo/") == ("foo", "")
    assert [format_route(route) for route in (("foo",), ("foo", ""), ("",))] == ["/foo", "/foo/", "/"]


def test_depth_limit():
    """A path of MAX_DEPTH segments is a route, one of more is none."""
    assert parse_path(b"/a" * MAX_DEPTH) == ("a",) * MAX_DEPTH
    assert parse_path(b"/a" * (MAX_DEPTH - 1) + b"/")[-1] == ""
    with pytest.raises(ServiceNotFound):
        parse_path(b"/a" * MAX_DEPTH + b"/")


@pytest.mark.parametrize("raw", [b"foo", b"9", b"a-b", b"a_b", "é".encode(), b"a" * 101])
def test_names(raw):
    """Letters and digits of any script, then dashes and underscores too, make a name."""
    assert parse_segment(raw) == raw.decode()


@pytest.mark.parametrize("raw", [b"", b"_", b"-a", b".", b"..", b"a.b", b"a b", b"a/b", b"a\n", b"\xff", b"a" * 102])
def test_no_names(raw):
    """Anything else makes none."""
    with pytest.raises(ServiceNotFound):
        parse_segment(raw)


SEGMENTS = st.sampled_from(
    [
        b"..",
        b".",
        b"%2e%2e",
        b"%2f",
        b"%5c",
        b"%00",
        b"foo",
        b"bar",
        b"",
        b"outside",
        b"linked",
        b"secret",
        b"%25",
        b"_x",
    ]
)


@bounded
@given(
    st.binary(max_size=60) | st.lists(SEGMENTS | st.binary(max_size=4), max_size=8).map(lambda s: b"/" + b"/".join(s))
)
def test_any_path_stays_inside(folder, path):
    """Any bytes name nothing, or a file that lies inside the folder."""
    for find in (folder.module, folder.page):
        try:
            found = find(parse_path(path))
        except ServiceNotFound:
            continue
        assert found.resolve(strict=True).is_relative_to(folder.root)
        assert found.resolve().is_file()


def test_page_beside_the_module(folder):
    """A page is found beside a module or alone, and not through a link that leads out."""
    assert folder.page(("foo",)) == folder.root / "foo.html"
    assert folder.page(("page_only",)) == folder.root / "page_only.html"
    for route in (("foo", "bar"), ("foo", ""), ("out",)):
        with pytest.raises(ServiceNotFound):
            folder.page(route)


def test_listing(folder):
    """The folder lists what it would serve: nothing hidden, nothing private, no link that leads out or to nothing."""
    assert sorted(folder.routes()) == ROUTES


def test_listing_names_only_what_can_be_reached(tmp_path):
    """Every route in the listing is what its own URL is parsed to, and has a module."""
    for name in ("a.py", "a-b.py", "b/c.py", "ws_service/d.py", "ws_service/ws_service.py", "e" * 102 + "/f.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    folder = ServiceFolder(tmp_path)
    listed = list(folder.routes())
    assert ("b", "c") in listed
    reached = []
    for route in listed:
        try:
            reached.append(parse_path(quote(format_route(route)).encode()))
        except ServiceNotFound:
            reached.append(("not found:", *route))
    assert reached == listed


def test_listing_of_a_folder_that_is_gone(tmp_path):
    """A folder that cannot be read lists nothing."""
    assert list(ServiceFolder(tmp_path / "gone").routes()) == []


def test_a_root_that_is_a_link(folder, tmp_path):
    """The root itself may be a link: what lies in it is inside."""
    (tmp_path / "link").symlink_to(folder.root)
    assert ServiceFolder(tmp_path / "link").module(("foo",)) == folder.root / "foo.py"


def test_tree_looks_first_at_what_runs(folder):
    """The tree has what runs, whether or not its file is still there, and then what the folder has."""
    tree = RouteTree(folder)
    assert tree.get(("gone",)) is None
    assert not tree.exists(("gone",))
    assert tree.get(("foo",)) is None
    assert tree.exists(("foo",))
    tree.running[("gone",)] = tree.running[("foo",)] = "running"
    assert tree.get(("gone",)) == "running"
    assert tree.exists(("gone",))
    assert tree.routes() == sorted([*ROUTES, ("gone",)])


def test_no_module_is_opened(folder, monkeypatch):
    """Finding a module reads no file: the hub never looks into one."""
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("opened"))
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    assert folder.module(("foo",)).name == "foo.py"
