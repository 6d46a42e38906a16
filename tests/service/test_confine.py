"""What a service process does to itself before its author's module is imported."""

import os
import resource

import pytest

from wshub.config import Settings
from wshub.processes.confinement import make_arguments

TELLS = """
    import os
    import resource
    import wshub

    FOUND = {
        "umask": os.umask(0o777),
        "memory": resource.getrlimit(resource.RLIMIT_DATA),
        "processes": resource.getrlimit(resource.RLIMIT_NPROC),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "oom": int(open("/proc/self/oom_score_adj").read()),
        "ids": (os.getresuid(), os.getresgid(), sorted(os.getgroups())),
        "threads": sorted(set(os.stat(f"/proc/self/task/{each}").st_uid for each in os.listdir("/proc/self/task"))),
    }

    class Service(wshub.Service):
        def on_open(self, client):
            client.send(repr(FOUND))

        def on_message(self, client, data):
            try:
                eval(data)
                client.send("well")
            except BaseException as error:
                client.send(type(error).__name__)
"""


@pytest.fixture
def confined(start_service):
    """Start a service with limits: what it has found at import, and a function that lets it do something."""

    def start(*limits):
        service = start_service(TELLS, limits=limits)
        client = service.connect()
        found = eval(service.get_text()[1])

        def do(what):
            service.message(client, what)
            return service.get_text()[1]

        return found, do

    return start


def test_limits(confined):
    """They are in force before the module is imported, for good, and do what they are for."""
    settings = Settings(service_memory=64 << 20, service_descriptors=16, service_processes=5000, service_umask=0o027)
    found, do = confined(*make_arguments(settings))
    assert found["umask"] == 0o027
    assert found["memory"] == (64 << 20, 64 << 20)
    assert found["descriptors"] == (16, 16)
    assert found["processes"] == (5000, 5000)
    assert found["core"] == (0, 0)
    assert do("bytes(1 << 20)") == "well"
    assert do("bytes(64 << 20)") == "MemoryError"
    assert do("[open('/dev/null') for _ in range(20)]") == "OSError"


def test_what_is_not_limited(confined):
    """Without limits a process has the hub's own, but for core dumps and for who goes first when memory is short."""
    found, _ = confined(*make_arguments(Settings()))
    assert found["umask"] == 0o077
    assert found["memory"] == resource.getrlimit(resource.RLIMIT_DATA)
    assert found["processes"] == resource.getrlimit(resource.RLIMIT_NPROC)
    assert found["descriptors"] == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert found["core"] == (0, 0)
    assert found["oom"] == 500


def test_limit_above_the_hubs_own(confined):
    """A limit that is lower already stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found, _ = confined(f"descriptors={hard + 1}")
    assert found["descriptors"] == (hard, hard)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_becoming_another_without_the_right_to(start_service):
    """The service does not start, and says why."""
    service = start_service(TELLS, is_ready=False, limits=("uid=65534", "gid=65534", "groups=65534"))
    assert "the hub is no longer root" in service.get_failed()
