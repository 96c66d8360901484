"""The way of an older vault.db to the present one (`audit/schema.py`): numbered, released, never changed.

| version | what came |
|---|---|
| 0 | the first release: payments and attempts, sandbox providers, every sale ends in `authorised` |
| 1 | settle, void, refund, cards on file, several providers per payment, links |

In version 0 an authorised payment was a sale that its sandbox had settled at once; version 1 says so. Every
attempt then went to the one provider of its payment.
"""

from audit.outbox import Migration

_PAYMENTS = """
CREATE TABLE payments_1 (
    payment_id VARCHAR(64) NOT NULL,
    tenant VARCHAR(40) NOT NULL,
    call_id VARCHAR(80) NOT NULL,
    leg_id VARCHAR(80) NOT NULL,
    agent_id VARCHAR(64),
    state VARCHAR(16) NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    reference VARCHAR(64) NOT NULL,
    purpose VARCHAR(48) NOT NULL,
    sca_basis VARCHAR(32) NOT NULL,
    provider VARCHAR(48) NOT NULL,
    provider_ref VARCHAR(128),
    version INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    token VARCHAR(256),
    brand VARCHAR(32),
    last4 VARCHAR(4),
    decline_reason VARCHAR(32),
    decline_next_step VARCHAR(32),
    decline_retry_allowed BOOLEAN,
    receipt VARCHAR(16),
    settle_later BOOLEAN NOT NULL,
    check_only BOOLEAN NOT NULL,
    customer VARCHAR(64) NOT NULL,
    mandate VARCHAR(48) NOT NULL,
    card_id VARCHAR(80) NOT NULL,
    customer_ref VARCHAR(128) NOT NULL,
    charge_ref VARCHAR(128) NOT NULL,
    settled_minor BIGINT NOT NULL,
    refunded_minor BIGINT NOT NULL,
    refunding_minor BIGINT NOT NULL,
    hold_until VARCHAR(32) NOT NULL,
    step VARCHAR(8),
    step_unknown BOOLEAN NOT NULL,
    link VARCHAR(8),
    link_until VARCHAR(24) NOT NULL,
    created_at VARCHAR(24) NOT NULL,
    updated_at VARCHAR(24) NOT NULL,
    PRIMARY KEY (payment_id),
    CONSTRAINT amount_is_positive CHECK (amount_minor > 0 OR (check_only AND amount_minor = 0)),
    CONSTRAINT settled_within_amount CHECK (settled_minor BETWEEN 0 AND amount_minor),
    CONSTRAINT refunds_within_settled CHECK (
        refunded_minor >= 0 AND refunding_minor >= 0 AND refunded_minor + refunding_minor <= settled_minor
    ),
    UNIQUE (provider, provider_ref),
    UNIQUE (tenant, receipt)
)
"""
_ATTEMPTS = """
CREATE TABLE attempts_1 (
    attempt_id INTEGER NOT NULL,
    payment_id VARCHAR(64) NOT NULL,
    attempt INTEGER NOT NULL,
    attempt_key VARCHAR(128) NOT NULL,
    state VARCHAR(16) NOT NULL,
    raw_code VARCHAR(64) NOT NULL,
    advice VARCHAR(32) NOT NULL,
    provider VARCHAR(48) NOT NULL,
    provider_ref VARCHAR(128) NOT NULL,
    sca_basis VARCHAR(32) NOT NULL,
    started_at VARCHAR(24) NOT NULL,
    ended_at VARCHAR(24),
    PRIMARY KEY (attempt_id),
    UNIQUE (payment_id, attempt),
    FOREIGN KEY(payment_id) REFERENCES payments_1 (payment_id),
    UNIQUE (attempt_key)
)
"""
_COPIED_PAYMENTS = """
INSERT INTO payments_1 (
    payment_id, tenant, call_id, leg_id, agent_id, amount_minor, currency, reference, purpose,
    sca_basis, provider, provider_ref, version, attempt, token, brand, last4, decline_reason,
    decline_next_step, decline_retry_allowed, receipt, created_at, updated_at,
    state, settled_minor, settle_later, check_only, customer, mandate, card_id, customer_ref, charge_ref,
    refunded_minor, refunding_minor, hold_until, step_unknown, link_until
)
SELECT
    payment_id, tenant, call_id, leg_id, agent_id, amount_minor, currency, reference, purpose,
    sca_basis, provider, provider_ref, version, attempt, token, brand, last4, decline_reason,
    decline_next_step, decline_retry_allowed, receipt, created_at, updated_at,
    iif(state = 'authorised', 'settled', state), iif(state = 'authorised', amount_minor, 0),
    0, 0, '', '', '', '', '', 0, 0, '', 0, ''
FROM payments
"""
_COPIED_ATTEMPTS = """
INSERT INTO attempts_1 (
    attempt_id, payment_id, attempt, attempt_key, state, raw_code, advice, provider, provider_ref, sca_basis,
    started_at, ended_at
)
SELECT
    attempt_id, payment_id, attempts.attempt, attempt_key, attempts.state, raw_code, '', provider,
    coalesce(provider_ref, ''), sca_basis, started_at, ended_at
FROM attempts JOIN payments USING (payment_id)
"""
_REFERENCES = """
CREATE UNIQUE INDEX one_payment_holds_a_reference ON payments (tenant, reference)
WHERE state IN (
    'created', 'capturing', 'ready', 'authorising', 'unknown', 'authorised', 'settled', 'linked'
)
"""
_UNDER_WAY = """
CREATE UNIQUE INDEX one_attempt_is_under_way ON attempts (payment_id)
WHERE state IN ('authorising', 'unknown', 'linked')
"""

FIRST = Migration(
    (
        _PAYMENTS,
        _COPIED_PAYMENTS,
        _ATTEMPTS,
        _COPIED_ATTEMPTS,
        "DROP TABLE attempts",
        "DROP TABLE payments",
        "ALTER TABLE payments_1 RENAME TO payments",
        "ALTER TABLE attempts_1 RENAME TO attempts",
        _REFERENCES,
        "CREATE INDEX holds_by_their_end ON payments (hold_until) WHERE hold_until != ''",
        "CREATE INDEX ix_payments_call_id ON payments (call_id)",
        "CREATE INDEX payments_of_a_tenant_by_age ON payments (tenant, created_at, payment_id)",
        _UNDER_WAY,
        "CREATE INDEX ix_attempts_provider_ref ON attempts (provider_ref)",
        "CREATE INDEX ix_attempts_ended_at ON attempts (ended_at)",
    ),
    in_place="SELECT 1 FROM pragma_table_info('payments') WHERE name = 'link_until'",
)
"""From the first release: two tables made anew, because SQLite cannot change a constraint."""

MIGRATIONS = (FIRST,)
