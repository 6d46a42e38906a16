"""What the admin interface says as JSON; the fields are in ``docs/reference/admin.md``."""

from typing import Any

from wshub.monitoring.views import HubView, ServiceView
from wshub.recent import Recent


def describe_hub(view: HubView) -> dict[str, Any]:
    """The hub as ``/services`` has it, beside its services."""
    return {
        "version": view.version,
        "began": view.began,
        "not_ready": list(view.not_ready),
        "connections": view.connections,
        "lag": view.lag,
        "memory": view.usage.memory if view.usage else None,
        "cpu": view.usage.cpu if view.usage else None,
        "refused": dict(view.counts.refused),
    }


def describe_service(view: ServiceView) -> dict[str, Any]:
    """A service as ``/services`` has it."""
    counts, usage = view.counts, view.usage
    return {
        "path": view.route,
        "state": view.state,
        "pid": view.pid,
        "clients": view.clients,
        "opened": counts.opened,
        "closed": {str(code): number for code, number in sorted(counts.closed.items())},
        "refused": dict(counts.refused),
        "received": counts.messages_in,
        "sent": counts.messages_out,
        "dropped": dict(counts.dropped),
        "starts": counts.starts,
        "restarts": counts.restarts,
        "deaths": dict(counts.deaths),
        "reloads": counts.reloads,
        "failed_reloads": counts.failed_reloads,
        "handed_over": counts.handed_over,
        "draining": view.draining,
        "last_error": counts.last_error,
        "memory": usage.memory if usage else None,
        "cpu": usage.cpu if usage else None,
        "measured": view.measured,
        "waiting_for_service": view.waiting_for_service,
        "waiting_for_clients": view.waiting_for_clients,
    }


def describe_recent(recent: Recent, after: int) -> dict[str, Any]:
    """What happened to a service after the entry of that number, as ``/recent`` has it."""
    return {
        "last": recent.last,
        "output": [line._asdict() for line in recent.output.after(after)],
        "output_total": recent.output.total,
        "closings": [closing._asdict() for closing in recent.closings.after(after)],
        "events": [event._asdict() for event in recent.events.after(after)],
        "tracebacks": [traceback._asdict() for traceback in recent.tracebacks.after(after)],
        "samples": [] if after else [sample._asdict() for sample in recent.samples],
    }
