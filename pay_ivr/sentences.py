"""The names of all sentences a caller can hear, and the values each needs; the words are the catalogue's.

In `balance_expiring` the points are those that expire, in `redeem_intro` and `redeem_insufficient` those the
member has. Numbers of points are never negative.
"""

from collections.abc import Mapping
from enum import StrEnum


class Key(StrEnum):
    """What can be said to a caller. The values each needs stand in `VALUES`."""

    WELCOME = "welcome"
    CONNECTING = "connecting"
    AGENT_BUSY_GOODBYE = "agent_busy_goodbye"
    CAPTURE_INTRO = "capture_intro"
    ASK_PAN = "ask_pan"
    ASK_EXPIRY = "ask_expiry"
    ASK_CVV = "ask_cvv"
    GRAMMAR = "grammar"
    FIELD_CLEARED = "field_cleared"
    PROBLEM_TOO_SHORT = "problem_too_short"
    PROBLEM_LUHN = "problem_luhn"
    PROBLEM_UNKNOWN_BRAND = "problem_unknown_brand"
    PROBLEM_BAD_MONTH = "problem_bad_month"
    PROBLEM_EXPIRED = "problem_expired"
    PROBLEM_TOO_FAR = "problem_too_far"
    PROBLEM_NO_INPUT = "problem_no_input"
    PROBLEM_REFUSED_BY_PROVIDER = "problem_refused_by_provider"
    PROBLEM_CONFIRM_REFUSED = "problem_confirm_refused"
    ALL_RECEIVED = "all_received"
    PLEASE_WAIT = "please_wait"
    APPROVED = "approved"
    DECLINED_GENERIC = "declined_generic"
    DECLINED_FUNDS = "declined_funds"
    DECLINED_PAN_WRONG = "declined_pan_wrong"
    DECLINED_EXPIRY_WRONG = "declined_expiry_wrong"
    DECLINED_CVV_WRONG = "declined_cvv_wrong"
    DECLINED_TEMPORARY = "declined_temporary"
    DECLINED_ONLINE_CONFIRMATION = "declined_online_confirmation"
    UNKNOWN_OUTCOME = "unknown_outcome"
    RETRY_CVV = "retry_cvv"
    RETRY_OTHER_CARD = "retry_other_card"
    TALK_ON = "talk_on"
    TALK_OFF = "talk_off"
    TIME_WARNING = "time_warning"
    CAPTURE_RESTARTED = "capture_restarted"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LINK_SENT = "link_sent"
    LINK_DECLINED = "link_declined"
    AGENT_LOST_CONFIRM = "agent_lost_confirm"
    NOT_CHARGED_GOODBYE = "not_charged_goodbye"
    RECEIPT = "receipt"
    GOODBYE = "goodbye"
    TECHNICAL_PROBLEM = "technical_problem"
    UNATTENDED_WELCOME = "unattended_welcome"
    UNATTENDED_GRAMMAR = "unattended_grammar"
    ASK_CODE = "ask_code"
    CODE_UNKNOWN = "code_unknown"
    CODE_CONFIRM = "code_confirm"
    NO_INPUT_GOODBYE = "no_input_goodbye"
    TOO_MANY_ATTEMPTS_GOODBYE = "too_many_attempts_goodbye"

    PORTAL_WELCOME = "portal_welcome"
    ANNOUNCEMENT = "announcement"
    LANGUAGE_OFFER = "language_offer"
    IDENTIFY_MENU = "identify_menu"
    ASK_NUMBER = "ask_number"
    ASK_POSTCODE = "ask_postcode"
    ASK_BIRTHDATE = "ask_birthdate"
    ASK_HOUSE_NUMBER = "ask_house_number"
    LOGIN_FAILED = "login_failed"

    ASK_PIN = "ask_pin"
    ASK_PIN_OLD = "ask_pin_old"
    ASK_PIN_NEW = "ask_pin_new"
    ASK_PIN_AGAIN = "ask_pin_again"
    ASK_PIN_CODE = "ask_pin_code"
    PIN_MISMATCH = "pin_mismatch"
    PIN_EASY = "pin_easy"
    PIN_TOO_SHORT = "pin_too_short"
    PIN_NO_INPUT = "pin_no_input"
    PIN_CHANGED = "pin_changed"
    PIN_NOT_CHANGED = "pin_not_changed"
    PIN_LOCKED = "pin_locked"
    PIN_TIME_UP = "pin_time_up"

    MENU_BALANCE = "menu_balance"
    MENU_REDEEM = "menu_redeem"
    MENU_CHANGE_PIN = "menu_change_pin"
    MENU_LOCK_CARD = "menu_lock_card"
    MENU_MOVEMENTS = "menu_movements"
    MENU_LANGUAGE = "menu_language"
    MENU_AGENT = "menu_agent"
    MENU_REPEAT = "menu_repeat"
    MENU_GOODBYE = "menu_goodbye"
    MENU_SLOWER = "menu_slower"
    MENU_BACK = "menu_back"
    MENU_MORE = "menu_more"

    BALANCE = "balance"
    BALANCE_EXPIRING = "balance_expiring"
    NO_MOVEMENTS = "no_movements"
    MOVEMENT_EARNED = "movement_earned"
    MOVEMENT_REDEEMED = "movement_redeemed"
    MOVEMENT_EXPIRED = "movement_expired"
    MOVEMENT_REVERSED = "movement_reversed"
    MOVEMENT_OTHER = "movement_other"

    LOCK_CONFIRM = "lock_confirm"
    CARD_LOCKED = "card_locked"
    CARD_ALREADY_LOCKED = "card_already_locked"
    CONFIRM_OR_BACK = "confirm_or_back"

    REDEEM_INTRO = "redeem_intro"
    REWARD_VOUCHER = "reward_voucher"
    REWARD_DONATION = "reward_donation"
    REDEEM_CONFIRM = "redeem_confirm"
    REDEEMED_DONATION = "redeemed_donation"
    REDEEMED_VOUCHER = "redeemed_voucher"
    VOUCHER_CODE = "voucher_code"
    VOUCHER_SENT = "voucher_sent"
    REDEEM_INSUFFICIENT = "redeem_insufficient"
    REDEEM_LIMIT = "redeem_limit"
    REDEEM_OUT_OF_STOCK = "redeem_out_of_stock"
    REDEEM_LATER = "redeem_later"
    REDEEM_UNKNOWN = "redeem_unknown"
    REDEEM_CARD_LOCKED = "redeem_card_locked"
    NOTHING_TO_REDEEM = "nothing_to_redeem"
    NOT_REDEEMED = "not_redeemed"

    TO_AGENT = "to_agent"
    AGENTS_CLOSED = "agents_closed"
    AGENTS_CLOSED_GOODBYE = "agents_closed_goodbye"
    AGENTS_BUSY = "agents_busy"
    INVALID_CHOICE = "invalid_choice"
    ASKED_AGAIN = "asked_again"
    NOT_UNDERSTOOD = "not_understood"
    LOYALTY_GOODBYE = "loyalty_goodbye"
    SERVICE_UNAVAILABLE = "service_unavailable"


_MONEY: Mapping[str, type] = {"amount_minor": int, "currency": str}
_DIGIT: Mapping[str, type] = {"digit": int}
"""The key to press, 0 to 9."""
_POINTS: Mapping[str, type] = {"points": int}
_DAY: Mapping[str, type] = {"year": int, "month": int, "day": int}
_OFFER: Mapping[str, type] = {"reward": str, "points": int}
"""A reward by its tenant's own name, and what it costs."""

VALUES: Mapping[Key, Mapping[str, type]] = {
    Key.WELCOME: {"tenant": str},
    Key.CAPTURE_INTRO: _MONEY,
    Key.ASK_CVV: {"digits": int},
    Key.APPROVED: _MONEY,
    Key.TIME_WARNING: {"seconds": int},
    Key.AGENT_LOST_CONFIRM: _MONEY,
    Key.RECEIPT: {"receipt": str},
    Key.UNATTENDED_WELCOME: {"tenant": str},
    Key.CODE_CONFIRM: {**_MONEY, "reference": str},
    Key.PORTAL_WELCOME: {"tenant": str},
    Key.ANNOUNCEMENT: {"text": str},
    Key.LANGUAGE_OFFER: _DIGIT,
    Key.MENU_BALANCE: _DIGIT,
    Key.MENU_REDEEM: _DIGIT,
    Key.MENU_CHANGE_PIN: _DIGIT,
    Key.MENU_LOCK_CARD: _DIGIT,
    Key.MENU_MOVEMENTS: _DIGIT,
    Key.MENU_LANGUAGE: _DIGIT,
    Key.MENU_AGENT: _DIGIT,
    Key.MENU_REPEAT: _DIGIT,
    Key.MENU_GOODBYE: _DIGIT,
    Key.MENU_SLOWER: _DIGIT,
    Key.MENU_BACK: _DIGIT,
    Key.MENU_MORE: _DIGIT,
    Key.BALANCE: _POINTS,
    Key.BALANCE_EXPIRING: {**_POINTS, **_DAY},
    Key.MOVEMENT_EARNED: {**_POINTS, **_DAY},
    Key.MOVEMENT_REDEEMED: {**_POINTS, **_DAY},
    Key.MOVEMENT_EXPIRED: {**_POINTS, **_DAY},
    Key.MOVEMENT_REVERSED: {**_POINTS, **_DAY},
    Key.MOVEMENT_OTHER: {**_POINTS, **_DAY},
    Key.REDEEM_INTRO: _POINTS,
    Key.REWARD_VOUCHER: {**_DIGIT, **_OFFER},
    Key.REWARD_DONATION: {**_DIGIT, **_OFFER},
    Key.REDEEM_CONFIRM: _OFFER,
    Key.REDEEMED_DONATION: {**_OFFER, "receipt": str},
    Key.REDEEMED_VOUCHER: _OFFER,
    Key.VOUCHER_CODE: {"code": str},
    Key.REDEEM_INSUFFICIENT: _POINTS,
}
"""The values of each key, by name and type. A key that is not listed takes none: its prompt is fixed."""

FIXED = tuple(key for key in Key if key not in VALUES)
"""The prompts that are the same in every call; `Speech.warm` renders them ahead."""

PORTAL = frozenset(tuple(Key)[tuple(Key).index(Key.PORTAL_WELCOME) :])
"""The sentences of the points account; a house without a programme never says them."""

EXAMPLES: Mapping[str, tuple[str | int, ...]] = {
    "text": ("We are open on Saturday, too.",),
    "tenant": ("Sunny Miles", "Müller & Söhne"),
    "amount_minor": (1995, 0, 1, 100, 101, 2100, 123456, 99999999),
    "currency": ("EUR", "USD", "JPY", "HUF"),
    "digits": (3, 4),
    "seconds": (60, 1, 2, 21),
    "receipt": ("48213007", "R-1042"),
    "reference": ("BK-2026-0012345", "é", "7"),
    "digit": (1, 0, 9),
    "points": (1234, 0, 1, 2, 21, 101, 1_000_000, 2_000_000),
    "year": (2026, 1987),
    "month": (8, 1),
    "day": (31, 1),
    "reward": ("Wald & Wiese", "Una sesión de cine"),
    "code": ("K7P-4QX-9A", "48213007"),
}
"""Values that a sentence may meet, to try it or to listen to it; the first of each is an ordinary one."""
