"""The Stripe SDK, imported in one place with everything off that prints, writes or tells (stripe 16.1).

At level DEBUG the SDK logs request bodies, which hold PAN and CVV, and the environment variable STRIPE_LOG
prints them on stderr: with it set, nothing starts. Telemetry writes a file of its own and sends platform
data. Everybody imports `stripe` from here.
"""

import logging
import os

from vault.door import VaultError

if os.environ.get("STRIPE_LOG"):
    raise VaultError("stripe_log_set", "STRIPE_LOG would print cards. Remove it from the environment.")

import stripe

stripe.enable_telemetry = False
stripe.log = None

_logger = logging.getLogger("stripe")
_logger.setLevel(logging.WARNING)
_logger.propagate = False
_logger.addHandler(logging.NullHandler())  # without any, Python's last resort would print on stderr

__all__ = ["stripe"]
