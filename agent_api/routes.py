"""Every route of the desk: who may use it, what it takes, what it gives. OpenAPI is made from here."""

from agent_api import calls, login, payments
from agent_api.openapi import read_document
from agent_api.route import Access, Route
from agent_api.schemas import (
    AgentAnswer,
    CallAnswer,
    CallDetailAnswer,
    CallsAnswer,
    HealthAnswer,
    LabelsAnswer,
    LoginBody,
    PaymentAnswer,
    PaymentBody,
    PaymentCodeAnswer,
    PaymentCodeBody,
    RekeyBody,
    TalkBody,
)
from agent_api.stream import open_stream

PAYMENT = "/v1/payments/{payment_id}"
CALL = "/v1/calls/{call_id}"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/healthz", login.health, Access.OPEN, "This node answers.", HealthAnswer),
    Route("GET", "/openapi.json", read_document, Access.BOTH, "This document.", None),
    Route("POST", "/v1/login", login.log_in, Access.OPEN, "Log in.", AgentAnswer, LoginBody),
    Route("POST", "/v1/logout", login.log_out, Access.AGENT, "Log out.", AgentAnswer),
    Route("GET", "/v1/me", login.who_am_i, Access.AGENT, "Who am I?", AgentAnswer),
    Route("GET", "/v1/labels/{language}", login.read_labels, Access.AGENT, "Console texts.", LabelsAnswer),
    Route("GET", "/v1/stream", open_stream, Access.AGENT, "Live changes, a WebSocket.", None, status=101),
    Route("GET", "/v1/calls", calls.list_calls, Access.BOTH, "Live calls.", CallsAnswer),
    Route("GET", CALL, calls.read_call, Access.BOTH, "One call.", CallDetailAnswer),
    Route("POST", CALL + "/hang-up", calls.hang_up, Access.AGENT, "Hang up.", CallAnswer),
    Route(
        "POST",
        CALL + "/payments",
        payments.create_payment,
        Access.AGENT,
        "Prepare a payment.",
        PaymentAnswer,
        PaymentBody,
        status=201,
        headers=(payments.IDEMPOTENCY_HEADER,),
    ),
    Route("GET", PAYMENT, payments.read_payment, Access.BOTH, "One payment.", PaymentAnswer),
    Route(
        "POST",
        PAYMENT + "/capture",
        payments.start_capture,
        Access.AGENT,
        "Start the capture.",
        PaymentAnswer,
    ),
    Route(
        "POST",
        PAYMENT + "/retry",
        payments.retry,
        Access.AGENT,
        "After a decline: capture what is needed again.",
        PaymentAnswer,
    ),
    Route(
        "POST", PAYMENT + "/rekey", payments.rekey, Access.AGENT, "One field again.", PaymentAnswer, RekeyBody
    ),
    Route("POST", PAYMENT + "/talk", payments.talk, Access.AGENT, "Pause to talk.", PaymentAnswer, TalkBody),
    Route("POST", PAYMENT + "/charge", payments.charge, Access.AGENT, "Charge.", PaymentAnswer),
    Route("POST", PAYMENT + "/cancel", payments.cancel, Access.AGENT, "Cancel.", PaymentAnswer),
    Route(
        "POST",
        "/v1/payment-codes",
        payments.issue_code,
        Access.KEY,
        "A code for a caller who pays alone.",
        PaymentCodeAnswer,
        PaymentCodeBody,
        status=201,
    ),
)
