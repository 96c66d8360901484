"""CONTROL PLANE: calls, signalling, flows, languages; sees no media byte and no card digit.

Reading order for a newcomer: `vault/__init__.py` (the door) → `vault/capture.py` → `pay_ivr/call.py`
→ `pay_ivr/switchboard.py` → `tests/e2e/test_payment_call.py` → `docs/glossary.md`.
"""
