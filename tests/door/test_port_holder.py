"""Who has a port: with a /proc of the test's own, and with the real one."""

import os
import socket

import pytest

from wshub.door.port_holder import find_holder

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTENING = "   0: 0100007F:3039 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n"
CONNECTED = "   1: 0100007F:3039 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n"
LISTENING_6 = (
    f"   0: {'0' * 32}:1F90 {'0' * 32}:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0\n"
)


@pytest.fixture
def proc(tmp_path):
    """A /proc with two listeners and a connection."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(HEADING + LISTENING + CONNECTED)
    (tmp_path / "net" / "tcp6").write_text(HEADING + LISTENING_6)
    for pid, inode, name in ((7, 4712, "client"), (30, 4711, "server"), (200, 4713, "six")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd" / "3").symlink_to(f"socket:[{inode}]")
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
    return tmp_path


def test_who_listens(proc):
    """It is the one that listens, not one that is connected; IPv6 too."""
    assert find_holder(12345, proc) == (30, "server")
    assert find_holder(8080, proc) == (200, "six")
    assert find_holder(80, proc) is None


def test_what_cannot_be_known(proc, tmp_path):
    """A process that is somebody else's, one that has just gone, and no /proc at all: nobody is named."""
    (proc / "30" / "comm").unlink()
    assert find_holder(12345, proc) is None
    (proc / "200" / "fd" / "3").unlink()
    assert find_holder(8080, proc) is None
    assert find_holder(80, tmp_path / "missing") is None


def test_the_real_one():
    """This very process is found."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        holder = find_holder(server.getsockname()[1])
    assert holder is not None
    assert holder[0] == os.getpid()
