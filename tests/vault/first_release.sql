CREATE TABLE outbox (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "key" VARCHAR(32) NOT NULL,
    body TEXT NOT NULL,
    UNIQUE ("key")
);
CREATE TABLE payments (
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
    created_at VARCHAR(24) NOT NULL,
    updated_at VARCHAR(24) NOT NULL,
    PRIMARY KEY (payment_id),
    CONSTRAINT amount_is_positive CHECK (amount_minor > 0),
    UNIQUE (provider, provider_ref),
    UNIQUE (tenant, receipt)
);
CREATE INDEX ix_payments_call_id ON payments (call_id);
CREATE UNIQUE INDEX one_payment_holds_a_reference ON payments (tenant, reference) WHERE state IN ('created', 'capturing', 'ready', 'authorising', 'unknown', 'authorised', 'settled');
CREATE TABLE attempts (
    attempt_id INTEGER NOT NULL,
    payment_id VARCHAR(64) NOT NULL,
    attempt INTEGER NOT NULL,
    attempt_key VARCHAR(128) NOT NULL,
    state VARCHAR(16) NOT NULL,
    raw_code VARCHAR(64) NOT NULL,
    started_at VARCHAR(24) NOT NULL,
    ended_at VARCHAR(24),
    PRIMARY KEY (attempt_id),
    UNIQUE (payment_id, attempt),
    FOREIGN KEY(payment_id) REFERENCES payments (payment_id),
    UNIQUE (attempt_key)
);
CREATE UNIQUE INDEX one_attempt_is_under_way ON attempts (payment_id) WHERE state IN ('authorising', 'unknown');
