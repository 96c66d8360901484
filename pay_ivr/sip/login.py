"""The answer to a challenge of the far side, for one request and its repeats (RFC 3261 §22.2, §22.3)."""

from pay_ivr.sip.digest import Challenge, Credentials, authorization, choose, worth_answering
from pay_ivr.sip.wire import Request, Response

CHALLENGES_MAX = 3
"""Challenges answered for one request: the first, one for a stale nonce, one proxy behind another."""
_ANSWERS = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


class Login:
    """Credentials for one request; a wrong password is not tried twice."""

    def __init__(self, credentials: Credentials | None) -> None:
        """Without credentials every challenge is a refusal."""
        self._credentials = credentials
        self._before: dict[int, Challenge] = {}
        self._headers: dict[str, str] = {}
        self._tries = 0

    def answers(self, request: Request, response: Response) -> tuple[tuple[str, str], ...] | None:
        """Headers for the repeat of `request`; None for a response that is no challenge worth answering."""
        names = _ANSWERS.get(response.status)
        if names is None or self._credentials is None or self._tries >= CHALLENGES_MAX:
            return None
        challenge = choose(response.get_all(names[0]))
        if challenge is None or not worth_answering(challenge, self._before.get(response.status)):
            return None
        self._tries += 1
        self._before[response.status] = challenge
        self._headers[names[1]] = authorization(
            challenge, self._credentials, request.method, request.uri, request.body
        )
        return tuple(self._headers.items())
