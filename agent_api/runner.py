"""Runs the desk's application, with an answer of our own to bytes that are no HTTP.

aiohttp quotes such bytes in its answer and in its log. They may hold anything, a PAN as well; so here they
get the problem document `request_invalid`, and the log gets the kind of error alone.
"""

from aiohttp import web
from aiohttp.web_request import BaseRequest

from agent_api.entrance import HEADERS, SERVER
from agent_api.problems import DeskError, response
from pay_ivr.logs import log

SHUTDOWN_TIMEOUT_S = 2.0
"""Consoles come back by themselves; a request that is under way has this long."""


class _Connection(web.RequestHandler):
    """One HTTP connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 what aiohttp says quotes the bytes
    ) -> web.StreamResponse:
        """A problem document that quotes nothing; the connection closes after it."""
        log.warning("desk.request.malformed", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, no other can follow")
        answer = response(DeskError("request_invalid" if status < 500 else "internal"))
        answer.headers.update({**HEADERS, "Server": SERVER})
        answer.force_close()
        return answer


class _Server(web.Server):
    """Makes connections of ours."""

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class DeskRunner(web.AppRunner):
    """`web.AppRunner` for the desk: no access log (it would hold paths), no quoted input."""

    def __init__(self, application: web.Application) -> None:
        super().__init__(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, access_log=None)
