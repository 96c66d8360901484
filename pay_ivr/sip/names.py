"""Names the protocol fixes: headers with their compact forms and rules, and the words of a status."""

from functools import lru_cache

NAMES_CACHED_MAX = 512
"""Spellings whose canonical form is remembered; ordinary traffic has below a hundred, noise is forgotten."""

COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
"""Compact header forms of the registry (RFC 3261 §7.3.3 and the extensions that added theirs)."""
ODD_CASE = {
    "call-id": "Call-ID",
    "cseq": "CSeq",
    "mime-version": "MIME-Version",
    "min-se": "Min-SE",
    "rack": "RAck",
    "rseq": "RSeq",
    "sip-etag": "SIP-ETag",
    "sip-if-match": "SIP-If-Match",
    "www-authenticate": "WWW-Authenticate",
}
"""Names whose long form is not simply each word capitalised."""
REQUIRED = ("Via", "From", "To", "Call-ID", "CSeq")
"""RFC 3261 §8.1.1 without Max-Forwards, which phones of RFC 2543 leave out."""
SINGLE = frozenset(
    {
        *("From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "Content-Type"),
        *("Expires", "Min-Expires", "Date", "Timestamp", "Session-Expires", "Min-SE", "Retry-After"),
        *("Replaces", "Refer-To", "Referred-By", "Event", "Subscription-State", "RAck", "RSeq"),
    }
)
"""Headers that may stand only once (RFC 3261 §7.3.1): a second one shows two readers two things."""
LISTS = frozenset(
    {
        *("Via", "Route", "Record-Route", "Contact", "Path", "Service-Route", "P-Asserted-Identity"),
        *("Allow", "Supported", "Require", "Proxy-Require", "Unsupported", "Accept", "Allow-Events"),
        *("Content-Encoding", "Diversion", "History-Info", "Reason"),
    }
)
"""Headers whose value is a comma-separated list."""
REASONS = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    429: "Provide Referrer Identity",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}
"""RFC 3261 §21 and the extensions we meet; people read reasons, programs read the status."""


@lru_cache(maxsize=NAMES_CACHED_MAX)
def canonical(name: str) -> str:
    """The long form of a header name in its usual case: `i` and `CALL-ID` are both `Call-ID`."""
    lower = name.lower()
    return (
        COMPACT.get(lower) or ODD_CASE.get(lower) or "-".join(part.capitalize() for part in lower.split("-"))
    )
