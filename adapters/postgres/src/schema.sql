CREATE SCHEMA IF NOT EXISTS vsiflow;

CREATE TABLE IF NOT EXISTS vsiflow.format (version integer NOT NULL);
INSERT INTO vsiflow.format SELECT 1 WHERE NOT EXISTS (SELECT FROM vsiflow.format);

-- One row a journal: who it is, who may write it, and how far it goes.
CREATE TABLE IF NOT EXISTS vsiflow.journals (
    journal      integer PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    id           text NOT NULL,
    written_by   text NOT NULL,
    incarnation  integer NOT NULL DEFAULT 1,
    observe_only boolean NOT NULL DEFAULT false,
    whole        boolean NOT NULL DEFAULT true,
    epoch        bigint NOT NULL DEFAULT 0,
    holder       text NOT NULL DEFAULT '',
    lease_until  timestamptz NOT NULL DEFAULT '-infinity',
    quiet_until  timestamptz NOT NULL DEFAULT '-infinity',
    lease_from   timestamptz NOT NULL DEFAULT '-infinity',
    quiet_from   timestamptz NOT NULL DEFAULT '-infinity',
    timeline     bigint NOT NULL DEFAULT 0,
    next_offset  bigint NOT NULL DEFAULT 0,
    tip_first    bigint,
    tip_last     bigint,
    tip_prev     bytea,
    tip_hash     bytea
) WITH (fillfactor = 10);
-- Added later. An ALTER waits for every statement on the table, also where it changes nothing.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'vsiflow.journals'::regclass AND attname = 'quiet_from') THEN
        ALTER TABLE vsiflow.journals ADD COLUMN lease_from timestamptz NOT NULL DEFAULT '-infinity';
        ALTER TABLE vsiflow.journals ADD COLUMN quiet_from timestamptz NOT NULL DEFAULT '-infinity';
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS vsiflow.events (
    journal  integer NOT NULL,
    "offset" bigint NOT NULL,
    stream   text COLLATE "C" NOT NULL,
    seq      bigint NOT NULL,
    bytes    bytea NOT NULL,
    PRIMARY KEY (journal, "offset"),
    UNIQUE (journal, stream, seq)
) PARTITION BY LIST (journal);

CREATE TABLE IF NOT EXISTS vsiflow.links (
    journal integer NOT NULL,
    first   bigint NOT NULL,
    last    bigint NOT NULL,
    prev    bytea NOT NULL,
    hash    bytea NOT NULL,
    PRIMARY KEY (journal, first),
    UNIQUE (journal, last)
);

CREATE TABLE IF NOT EXISTS vsiflow.streams (
    journal  integer NOT NULL,
    stream   text COLLATE "C" NOT NULL,
    next_seq bigint NOT NULL,
    hash     bytea NOT NULL,
    PRIMARY KEY (journal, stream)
) WITH (fillfactor = 80);

CREATE TABLE IF NOT EXISTS vsiflow.gaps (
    journal integer NOT NULL,
    first   bigint NOT NULL,
    last    bigint NOT NULL,
    prev    bytea NOT NULL,
    hash    bytea NOT NULL,
    cause   text NOT NULL,
    PRIMARY KEY (journal, first)
);

CREATE TABLE IF NOT EXISTS vsiflow.bases (
    journal    integer NOT NULL,
    as_of      bigint NOT NULL,
    size       bigint NOT NULL,
    link_first bigint,
    link_last  bigint,
    link_prev  bytea,
    link_hash  bytea,
    PRIMARY KEY (journal, as_of)
);

CREATE TABLE IF NOT EXISTS vsiflow.base_states (
    journal integer NOT NULL,
    as_of   bigint NOT NULL,
    number  bigint NOT NULL,
    state   bytea NOT NULL,
    PRIMARY KEY (journal, as_of, number)
);

CREATE TABLE IF NOT EXISTS vsiflow.blobs (
    journal integer NOT NULL,
    hash    bytea NOT NULL,
    bytes   bytea NOT NULL,
    PRIMARY KEY (journal, hash)
);

CREATE TABLE IF NOT EXISTS vsiflow.checkpoints (
    journal integer NOT NULL,
    run     text COLLATE "C" NOT NULL,
    node    text COLLATE "C" NOT NULL,
    value   bytea NOT NULL,
    PRIMARY KEY (journal, run, node)
) WITH (fillfactor = 50);

-- Namespaces that have quotas, or had some when journal 0 was taken last.
CREATE TABLE IF NOT EXISTS vsiflow.shard_limits (
    set_name  text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    PRIMARY KEY (set_name, namespace)
);

-- Sealed before they are sent: the database never sees one.
CREATE TABLE IF NOT EXISTS vsiflow.secrets (
    journal integer NOT NULL,
    id      text COLLATE "C" NOT NULL,
    sealed  bytea NOT NULL,
    PRIMARY KEY (journal, id)
);

-- Sets of journals that several processes share.
CREATE TABLE IF NOT EXISTS vsiflow.shard_sets (
    name     text COLLATE "C" PRIMARY KEY,
    journals integer NOT NULL
);

CREATE TABLE IF NOT EXISTS vsiflow.shard_processes (
    set_name  text COLLATE "C" NOT NULL,
    process   text COLLATE "C" NOT NULL,
    came      timestamptz NOT NULL DEFAULT clock_timestamp(),
    silent_at timestamptz NOT NULL,
    PRIMARY KEY (set_name, process)
);

-- Rows are added, and never changed.
CREATE TABLE IF NOT EXISTS vsiflow.shard_hosts (
    set_name text COLLATE "C" NOT NULL,
    host     text COLLATE "C" NOT NULL,
    journal  integer NOT NULL,
    PRIMARY KEY (set_name, host)
);

CREATE TABLE IF NOT EXISTS vsiflow.shard_machines (
    set_name text COLLATE "C" NOT NULL,
    machine  text COLLATE "C" NOT NULL,
    host     text COLLATE "C" NOT NULL,
    journal  integer NOT NULL,
    PRIMARY KEY (set_name, machine)
);

CREATE TABLE IF NOT EXISTS vsiflow.shard_names (
    set_name text COLLATE "C" NOT NULL,
    object   text COLLATE "C" NOT NULL,
    journal  integer NOT NULL,
    busy_by  text COLLATE "C" NOT NULL,
    claims   bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (set_name, object)
);
-- Few are busy, of very many: a claim that is settled looks at no other name.
CREATE INDEX IF NOT EXISTS shard_names_busy ON vsiflow.shard_names (set_name, journal, busy_by) WHERE busy_by <> '';

-- Sealed before they are sent: the database never sees one.
CREATE TABLE IF NOT EXISTS vsiflow.shard_requests (
    set_name   text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    journal    integer NOT NULL,
    asked      timestamptz NOT NULL DEFAULT clock_timestamp(),
    repeatable boolean NOT NULL,
    sealed     bytea NOT NULL,
    begun_by   text COLLATE "C" NOT NULL DEFAULT '',
    answer     bytea,
    answered   timestamptz,
    lane       integer NOT NULL DEFAULT 0,
    PRIMARY KEY (set_name, id)
);
ALTER TABLE vsiflow.shard_requests ADD COLUMN IF NOT EXISTS lane integer NOT NULL DEFAULT 0;
CREATE INDEX IF NOT EXISTS shard_requests_open ON vsiflow.shard_requests (set_name, journal, asked) WHERE answer IS NULL;
