-- The manager's tables. Made if missing; a change of their meaning raises user_version.
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS join_tokens (
    hash TEXT PRIMARY KEY,          -- of the secret: the table gives no token away
    expires INTEGER NOT NULL,       -- Unix seconds
    used_by TEXT                    -- host id
) STRICT;
CREATE TABLE IF NOT EXISTS hosts (id TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS vms (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, json TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS templates (name TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY, queued INTEGER NOT NULL, final INTEGER NOT NULL, json TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks (final, queued);
CREATE TABLE IF NOT EXISTS migrations (
    id TEXT PRIMARY KEY, began INTEGER NOT NULL, json TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS migrations_by_time ON migrations (began);
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL) STRICT;
