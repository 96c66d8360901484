"""The one family of errors of this package.

Refusals that a member may hear (too few points, a locked card) are values, not errors. An error is our own
mistake, a stranger's id, or something that may work later; its sentence never quotes what came in.
"""


class LoyaltyError(Exception):
    """Something could not be done: `code` for programs, the sentence says what to do next.

    `retryable` with a write means *unknown*: ask again under the same key, never under a new one.
    """

    def __init__(self, code: str, sentence: str, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.retryable = retryable
