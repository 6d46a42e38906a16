"""What a service process does to itself before it imports its author's module: who it is, and how much it may have."""

from __future__ import annotations

import os

OOM_SCORE = b"500"  # of 1000: when memory is short, the kernel ends a service and not the hub (proc(5), oom_score_adj)


def confine(options: dict[str, str]) -> None:
    """Do what the hub's arguments say (`wshub.processes.confinement`). Raise `PermissionError` if it may not.

    Every limit is this process's own and that of each one it starts, but `processes`: those are counted by user,
    threads included, and root has as many as it likes (setrlimit(2), RLIMIT_NPROC).
    """
    prefer_to_be_killed()  # while /proc/self is this user's: after setuid it is root's (proc(5))
    if "uid" in options:
        become(int(options["uid"]), int(options["gid"]), [int(each) for each in options["groups"].split(",")])
    if "umask" in options:
        os.umask(int(options["umask"]))
    import resource  # noqa: PLC0415 - not part of what a process without a hub needs

    lower(resource.RLIMIT_CORE, 0)  # a dump has everything that the clients have said
    for name, limit in (
        ("memory", resource.RLIMIT_DATA),  # not RLIMIT_AS, which counts what is mapped and never used
        ("processes", resource.RLIMIT_NPROC),
        ("descriptors", resource.RLIMIT_NOFILE),
    ):
        if name in options:
            lower(limit, int(options[name]))


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Be another user for good: the groups first, because after that there is no right to change them."""
    try:
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)
    except PermissionError:
        raise PermissionError(
            "service_user: the hub is no longer root, so its services cannot become another user; "
            "leave out either --service-user or twistd's --uid"
        ) from None


def lower(limit: int, value: int) -> None:
    """Set a limit, soft and hard, unless it is lower already."""
    import resource  # noqa: PLC0415 - see above

    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, value))


def prefer_to_be_killed() -> None:
    """Let the kernel take this process before the hub when there is no memory left."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # no /proc, or another user's
    try:
        os.write(fd, OOM_SCORE)
    except OSError:
        pass  # somebody has given it a higher one: so it is meant to be
    finally:
        os.close(fd)
