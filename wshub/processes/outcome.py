"""What became of the wish to reload a service, and how people are told."""

from dataclasses import dataclass

RELOADED_WELL, FAILED, SUPERSEDED = "reloaded", "failed", "superseded"
REMOVED, IDLE, UNKNOWN = "removed", "idle", "unknown"


@dataclass(frozen=True)
class Outcome:
    """What became of the wish to reload a service."""

    service: str
    """Its route, as people write it."""
    result: str
    """``reloaded``; ``failed``; ``superseded`` by another wish; ``removed``: its file is gone; ``idle``: it does not
    run, and its next client starts it; ``unknown``: there is no such service."""
    why: str = ""
    """Why it failed, in a line."""
    seconds: float = 0.0
    """How long the new process took to get ready."""
    clients: int = 0
    """How many the old one had then."""
    handed_over: bool = False
    """Whether they go on with the new one."""


def describe(outcome: Outcome) -> str:
    """An outcome as the log has it."""
    return f"reloaded {outcome.service} in {outcome.seconds:.2f} s"


def count(clients: int) -> str:
    """So many clients, in words."""
    return "1 client" if clients == 1 else f"{clients} clients"
