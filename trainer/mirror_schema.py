"""The tables of a mirror's file: what Label Studio holds, and what was counted of it.

Numbers that every look asks for are kept by triggers, so that a look need not go through all tasks.
"""

from __future__ import annotations

import sqlite3

SCHEMA_VERSION = 4
BLOCK_TASKS = 256  # ids of tasks, in order, that make up a block

_STATEMENTS = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE tasks (id INTEGER PRIMARY KEY, updated_at TEXT NOT NULL, submitted INTEGER NOT NULL, "
    "annotated INTEGER NOT NULL, latest TEXT, draft INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL)",
    "CREATE INDEX annotated_tasks ON tasks (id) WHERE annotated > 0",
    "CREATE TABLE predictions (task INTEGER NOT NULL, id INTEGER NOT NULL, version TEXT NOT NULL, "
    "created_at TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (task, id)) WITHOUT ROWID",
    "CREATE INDEX predictions_by_version ON predictions (version, task)",
    # Of the tasks of a block, when the last of them became another, in numbers that only grow.
    "CREATE TABLE blocks (block INTEGER PRIMARY KEY, revision INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX blocks_by_revision ON blocks (revision)",
    # Tasks that are another than when they were last counted, and of those that were the document; see ``tally``.
    "CREATE TABLE uncounted (task INTEGER PRIMARY KEY)",
    "CREATE TABLE counted (task INTEGER PRIMARY KEY, document TEXT NOT NULL)",
    "CREATE INDEX counted_by_document ON counted (document)",
    # Ids of the documents verified now, and of those that the last round has seen.
    "CREATE TABLE verified (document TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE seen (document TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE totals (tasks INTEGER NOT NULL, submitted INTEGER NOT NULL, verified INTEGER NOT NULL, "
    "seen INTEGER NOT NULL, both INTEGER NOT NULL)",
    "INSERT INTO totals VALUES (0, 0, 0, 0, 0)",
    "CREATE TRIGGER task_came AFTER INSERT ON tasks BEGIN "
    "UPDATE totals SET tasks = tasks + 1, submitted = submitted + NEW.submitted; END",
    "CREATE TRIGGER task_went AFTER DELETE ON tasks BEGIN "
    "UPDATE totals SET tasks = tasks - 1, submitted = submitted - OLD.submitted; END",
    "CREATE TRIGGER task_changed AFTER UPDATE OF submitted ON tasks BEGIN "
    "UPDATE totals SET submitted = submitted + NEW.submitted - OLD.submitted; END",
    "CREATE TRIGGER verified_came AFTER INSERT ON verified BEGIN UPDATE totals SET verified = verified + 1, "
    "both = both + EXISTS (SELECT 1 FROM seen WHERE document = NEW.document); END",
    "CREATE TRIGGER verified_went AFTER DELETE ON verified BEGIN UPDATE totals SET verified = verified - 1, "
    "both = both - EXISTS (SELECT 1 FROM seen WHERE document = OLD.document); END",
    "CREATE TRIGGER seen_came AFTER INSERT ON seen BEGIN UPDATE totals SET seen = seen + 1, "
    "both = both + EXISTS (SELECT 1 FROM verified WHERE document = NEW.document); END",
    "CREATE TRIGGER seen_went AFTER DELETE ON seen BEGIN UPDATE totals SET seen = seen - 1, "
    "both = both - EXISTS (SELECT 1 FROM verified WHERE document = OLD.document); END",
)


def make_tables(base: sqlite3.Connection) -> None:
    """Make the tables in a new file, within a transaction of the caller's."""
    for statement in _STATEMENTS:
        base.execute(statement)
    base.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
