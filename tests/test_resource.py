"""The URL space as a tree, without a port."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.test.requesthelper import DummyRequest

from wshub.config import Settings
from wshub.errors import ServiceNotFound
from wshub.poller import Poller
from wshub.processes.supervisor import ServiceSupervisor
from wshub.resource import UrlNode, find_node, find_static
from wshub.routing import MAX_DEPTH, parse_route, split_path
from wshub.testing import FakeReactor


def make_root(reactor: FakeReactor, folder: Path, html: Path | None = None) -> UrlNode:
    """The root of a tree over a folder of services."""
    supervisor = ServiceSupervisor(reactor, Settings(document_root=folder, html=html), Poller(reactor))
    return UrlNode(supervisor, html)


@pytest.fixture
def root(reactor: FakeReactor, tmp_path: Path) -> UrlNode:
    """A tree with ``/echo``, which has a page, and ``/foo/``."""
    (tmp_path / "echo.py").write_text("")
    (tmp_path / "page.html").write_text("without a service")
    (tmp_path / "foo").mkdir()
    (tmp_path / "foo" / "ws_service.py").write_text("")
    return make_root(reactor, tmp_path)


def get(root: UrlNode, path: bytes) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of a GET that is answered at once."""
    request = DummyRequest([])
    body = find_node(root, path).render_GET(request)
    headers = {name.decode(): values[0].decode() for name, values in request.responseHeaders.getAllRawHeaders()}
    assert isinstance(body, bytes)
    return request.responseCode or 200, body, headers


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (b"/", ("",)),
        (b"/echo", ("echo",)),
        (b"/foo/", ("foo", "")),
        (b"/foo/bar", ("foo", "bar")),
        (b"/%65cho", ("echo",)),
        (b"/%C5%BElu%C5%A5/a-b_c/9", ("žluť", "a-b_c", "9")),
    ],
)
def test_route_of_a_node(root: UrlNode, path: bytes, route: tuple[str, ...]) -> None:
    """A node is named by the segments of its path, decoded once."""
    assert find_node(root, path).route == route


SEGMENTS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b"", b".", b"..", b"ws_service", b"_x", b"%2e%2e", b"a%2fb", b"%252e", b"%00", b"%ff", b"foo", b"e"]
    ),
    st.from_regex(rb"[A-Za-z0-9_%.-]{1,8}", fullmatch=True),
)


@given(st.lists(SEGMENTS, min_size=1, max_size=MAX_DEPTH + 3))
def test_tree_agrees_with_the_path(segments: list[bytes]) -> None:
    """Whatever the path, the node at its end has the route that the path as a whole has, or none if it has none."""
    path = b"/" + b"/".join(segment.replace(b"/", b"").replace(b"?", b"") for segment in segments)
    node = find_node(make_root(FakeReactor(), Path(__file__).parent), path)
    try:
        expected = parse_route(split_path(path))
    except ServiceNotFound:
        with pytest.raises(ServiceNotFound):
            _ = node.route
        return
    assert node.route == expected


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 1000])
def test_depth(root: UrlNode, depth: int) -> None:
    """A path as deep as may be has a route, in the tree as by itself; a deeper one has none."""
    path = b"/a" * depth
    node = find_node(root, path)
    if depth <= MAX_DEPTH:
        assert node.route == parse_route(split_path(path)) == ("a",) * depth
    else:
        with pytest.raises(ServiceNotFound):
            _ = node.route


def test_link_is_the_supervisors(root: UrlNode, reactor: FakeReactor) -> None:
    """Asking a node for its service starts it; another node of the same place has the same service."""
    link = find_node(root, b"/echo").link()
    assert find_node(root, b"/%65cho").link() is link
    assert len(reactor.processes) == 1
    with pytest.raises(ServiceNotFound):
        find_node(root, b"/missing").link()


@pytest.mark.parametrize(
    ("path", "status"),
    [(b"/echo", 426), (b"/foo/", 426), (b"/foo", 404), (b"/missing", 404), (b"/_wshub/x", 404), (b"/_wshub/", 404)],
)
def test_get_without_a_page(root: UrlNode, reactor: FakeReactor, path: bytes, status: int) -> None:
    """Where there is a service the answer is 426 with how to reach it, elsewhere 404; nothing is started for it."""
    code, body, headers = get(root, path)
    assert code == status
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    if status == 426:
        assert headers["Upgrade"] == "websocket"
        assert path in body
    assert reactor.processes == []


def test_listing(root: UrlNode) -> None:
    """The list of services has each with its state, its clients, and whether it has a page."""
    find_node(root, b"/echo").link()
    code, body, headers = get(root, b"/_wshub/services.json")
    assert (code, headers["Content-Type"], headers["Cache-Control"]) == (200, "application/json", "no-store")
    assert json.loads(body)["services"] == [
        {"path": "/echo", "state": "starting", "clients": 0, "page": False},
        {"path": "/foo/", "state": "idle", "clients": 0, "page": False},
    ]


def test_icon(root: UrlNode) -> None:
    """Browsers ask for an icon: there is none, and that is no error."""
    assert get(root, b"/favicon.ico")[:2] == (204, b"")


@pytest.fixture
def html(tmp_path: Path) -> Path:
    """A folder of static pages, with ways out of it."""
    html = tmp_path / "html"
    (html / "sub").mkdir(parents=True)
    for name in ("index.html", "about.html", "data.json", "sub/index.html", ".hidden", "two words.txt"):
        (html / name).write_text(name)
    (tmp_path / "secret").write_text("secret")
    (html / "out").symlink_to(tmp_path / "secret")
    (html / "up").symlink_to(tmp_path)
    (html / "loop").symlink_to("loop")
    (html / "inside").symlink_to("about.html")
    return html


@pytest.mark.parametrize(
    ("segments", "name"),
    [
        ((b"",), "index.html"),
        ((b"about",), "about.html"),
        ((b"about.html",), "about.html"),
        ((b"sub", b""), "sub/index.html"),
        ((b"sub", b"index"), "sub/index.html"),
        ((b"two words.txt",), "two words.txt"),
        ((b"inside",), "about.html"),
        ((b"sub",), None),
        ((b"missing",), None),
        ((b"",) * 2, None),
        ((b"..", b"secret"), None),
        ((b"../secret",), None),
        ((b"sub", b"..", b"about"), None),
        ((b".hidden",), None),
        ((b"out",), None),
        ((b"up", b"secret"), None),
        ((b"loop",), None),
        ((b"a\0",), None),
        ((b"\xff",), None),
        ((b"x" * 5000,), None),
    ],
)
def test_static_files(html: Path, segments: tuple[bytes, ...], name: str | None) -> None:
    """A static file is found by its name, with or without ``.html``; nothing outside and nothing hidden is."""
    assert find_static(html, segments) == (name and html / name)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=4))
def test_no_segments_lead_out_of_the_static_files(segments: list[bytes]) -> None:
    """Whatever the segments, what is found lies inside the folder."""
    folder = Path(__file__).parent.resolve()
    found = find_static(folder, tuple(segments))
    assert found is None or found.is_relative_to(folder)
