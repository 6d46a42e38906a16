"""``POST /reload`` of the admin interface: reloads services, and answers when it is known what came of it.

``?service=/chat`` names one, and may be repeated; without it, all services are reloaded whose files have changed.
"""

import json
from dataclasses import asdict
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.server import NOT_DONE_YET, Request

from wshub.errors import ServiceNotFound
from wshub.processes.outcome import UNKNOWN, Outcome
from wshub.processes.supervisor import ServiceSupervisor
from wshub.routing import Route, parse_route, split_path


def reload_services(supervisor: ServiceSupervisor, paths: list[str]) -> "Deferred[list[Outcome]]":
    """Reload the services at these paths, as their URLs have them; or those that have changed, if none is named."""
    if not paths:
        return supervisor.reload_changed()
    routes: list[Route] = []
    unknown: list[Outcome] = []
    for path in dict.fromkeys(paths):
        try:
            routes.append(parse_route(split_path(path.encode())))
        except ServiceNotFound:
            unknown.append(Outcome(path, UNKNOWN))
    return supervisor.reload(routes).addCallback(lambda outcomes: outcomes + unknown)


def render_reload(supervisor: ServiceSupervisor, request: Request) -> int:
    """Answer a request when all is done, unless whoever asked has gone by then."""
    paths = [value.decode(errors="replace") for value in (request.args or {}).get(b"service", [])]
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)
    reload_services(supervisor, paths).addCallback(partial(_finish, request, gone))
    return NOT_DONE_YET


def _finish(request: Any, gone: list[object], outcomes: list[Outcome]) -> None:
    if not gone:
        request.write(describe_outcomes(outcomes).encode())
        request.finish()


def describe_outcomes(outcomes: list[Outcome]) -> str:
    """The body of the answer."""
    return json.dumps({"services": [asdict(each) for each in outcomes]}) + "\n"
