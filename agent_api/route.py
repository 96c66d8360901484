"""One route of the desk, as data."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from agent_api.desk import Handler
from agent_api.schemas import Nothing


class Access(StrEnum):
    """Who may use a route. Nothing is open unless it says so."""

    OPEN = "open"
    AGENT = "agent"
    KEY = "key"
    BOTH = "both"
    """An agent, or an access key for reading."""


@dataclass(frozen=True)
class Route:
    """Method, path and everything that a check or the OpenAPI document needs to know of it."""

    method: str
    path: str
    handler: Handler
    access: Access
    summary: str
    result: type[BaseModel] | None
    """None: not JSON of ours (WebSocket, the document itself)."""
    body: type[BaseModel] = Nothing
    status: int = 200
    headers: tuple[str, ...] = ()
    """Names of headers that must be sent."""
    raw: bool = False
    """True: the handler reads the body itself, and no browser sends it."""

    @property
    def changes(self) -> bool:
        """True when it may change something: then the origin of a browser is checked."""
        return self.method != "GET"
