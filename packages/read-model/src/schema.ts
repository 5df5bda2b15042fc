/** Version of the tables below; a file of another version is thrown away and folded anew from the log. */
export const SCHEMA_VERSION = 5;

export const SCHEMA = `
CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  schema_version INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  hash TEXT NOT NULL,
  digest TEXT NOT NULL
);
CREATE TABLE commits (
  commit_id TEXT PRIMARY KEY,
  revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE credentials (
  id TEXT PRIMARY KEY,
  store TEXT NOT NULL,
  chain TEXT NOT NULL,
  name TEXT NOT NULL,
  name_key TEXT NOT NULL,
  login_key TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  doc TEXT NOT NULL,
  roles TEXT GENERATED ALWAYS AS (
    CASE WHEN instr(doc, '"roles"') > 0 AND doc ->> '$.access.kind' = 'roles' THEN doc ->> '$.access.roles' END
  ) STORED
);
CREATE UNIQUE INDEX credentials_login ON credentials (login_key, store, chain);
CREATE UNIQUE INDEX credentials_name ON credentials (store, chain, name);
CREATE INDEX credentials_by_name ON credentials (name_key, store, chain, roles);
CREATE INDEX credentials_by_created ON credentials (created_at, name_key, store, chain, roles);
CREATE INDEX credentials_by_updated ON credentials (updated_at, name_key, store, chain, roles);
CREATE TABLE acl_tables (
  target TEXT PRIMARY KEY,
  target_key TEXT NOT NULL,
  doc TEXT NOT NULL
);
CREATE TABLE settings (id INTEGER PRIMARY KEY CHECK (id = 1), doc TEXT NOT NULL);
CREATE TABLE operators (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  email TEXT UNIQUE,
  administrator INTEGER NOT NULL,
  doc TEXT NOT NULL
);
CREATE TABLE api_keys (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, doc TEXT NOT NULL);
CREATE TABLE auth_chains (scope TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trust (listener TEXT PRIMARY KEY, doc TEXT NOT NULL);
CREATE TABLE roles (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  name_key TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  doc TEXT NOT NULL
);


CREATE TABLE access_groups (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  name_key TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  doc TEXT NOT NULL
);
CREATE TABLE bans (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  value_key TEXT NOT NULL,
  until INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  doc TEXT NOT NULL
);
CREATE TABLE credential_roles (
  role_id TEXT NOT NULL,
  credential_id TEXT NOT NULL,
  PRIMARY KEY (role_id, credential_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX bans_value ON bans (kind, value);
CREATE INDEX bans_by_value ON bans (value_key, id);
CREATE INDEX bans_by_until ON bans (until, id);
CREATE TABLE imported_secrets (algorithm TEXT PRIMARY KEY, secrets INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE imports (id TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE import_commits (
  import_id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  PRIMARY KEY (import_id, revision)
) WITHOUT ROWID;
CREATE INDEX access_groups_by_name ON access_groups (name_key, id);

CREATE TABLE group_rules (id INTEGER PRIMARY KEY CHECK (id = 1), doc TEXT NOT NULL);
CREATE TABLE registration_window (id INTEGER PRIMARY KEY CHECK (id = 1), doc TEXT NOT NULL);
CREATE TABLE registrations (
  id TEXT PRIMARY KEY,
  status TEXT NOT NULL,
  username TEXT NOT NULL,
  username_key TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  until INTEGER NOT NULL,
  doc TEXT NOT NULL
);
CREATE INDEX registrations_by_username ON registrations (username, created_at, id);
CREATE INDEX registrations_by_status ON registrations (status, last_seen_at, id);
CREATE INDEX registrations_by_until ON registrations (until, id);
`;
