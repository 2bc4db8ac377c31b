-- The ledger as the last node without versions made it in SQLite: nothing changes it any more.
CREATE TABLE commitments (
    transaction_uid VARCHAR(64) NOT NULL,
    destination VARCHAR(64) NOT NULL,
    series_instance_uid VARCHAR(64) NOT NULL,
    revision INTEGER NOT NULL,
    asked_at DATETIME NOT NULL,
    PRIMARY KEY (transaction_uid)
);
CREATE TABLE deliveries (
    sop_instance_uid VARCHAR(64) NOT NULL,
    destination VARCHAR(64) NOT NULL,
    series_instance_uid VARCHAR(64) NOT NULL,
    revision INTEGER NOT NULL,
    state VARCHAR(64) NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    changed_at DATETIME NOT NULL,
    next_attempt_at DATETIME,
    visit INTEGER DEFAULT '0' NOT NULL,
    status INTEGER,
    sent_at DATETIME,
    losses INTEGER DEFAULT '0' NOT NULL,
    resumes BOOLEAN DEFAULT 0 NOT NULL,
    PRIMARY KEY (sop_instance_uid, destination)
);
CREATE INDEX deliveries_of_series ON deliveries (series_instance_uid, revision, destination);
CREATE INDEX ix_deliveries_state ON deliveries (state);
CREATE TABLE results (
    sop_instance_uid VARCHAR(64) NOT NULL,
    sop_class_uid VARCHAR(64) NOT NULL,
    kind VARCHAR(64) NOT NULL,
    own_series_instance_uid VARCHAR(64) NOT NULL,
    series_instance_uid VARCHAR(64) NOT NULL,
    revision INTEGER NOT NULL,
    path TEXT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    made_at DATETIME NOT NULL,
    PRIMARY KEY (sop_instance_uid)
);
CREATE INDEX results_of_series ON results (series_instance_uid, revision);
CREATE TABLE series (
    series_instance_uid VARCHAR(64) NOT NULL,
    revision INTEGER NOT NULL,
    study_instance_uid VARCHAR(64) NOT NULL,
    calling_ae_title VARCHAR(64) NOT NULL,
    called_ae_title VARCHAR(64) NOT NULL,
    instances INTEGER NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    state VARCHAR(64) NOT NULL,
    code VARCHAR(64) NOT NULL,
    reason TEXT NOT NULL,
    received_at DATETIME NOT NULL,
    changed_at DATETIME NOT NULL,
    PRIMARY KEY (series_instance_uid, revision)
);
CREATE INDEX ix_series_fingerprint ON series (fingerprint);
