import { randomUUID } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  CREATE TABLE IF NOT EXISTS version (
    seq INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL, last_updated TEXT NOT NULL, content TEXT);
  CREATE TABLE IF NOT EXISTS blob (id TEXT PRIMARY KEY, content BLOB NOT NULL);
  CREATE TABLE IF NOT EXISTS project (id TEXT PRIMARY KEY);
`;

/**
 * Durable storage: one row per resource version. A request is acknowledged after `flush()`, one SQLite transaction in
 * WAL mode, so a killed process loses no acknowledged write (a power cut may). Without a file nothing is kept.
 */
export class Journal {
  pending = [];
  #db;
  #insert;

  constructor(file) {
    if (file) {
      this.#db = new DatabaseSync(file);
      this.#db.exec(SCHEMA);
      this.#insert = this.#db.prepare('INSERT INTO version (type, id, last_updated, content) VALUES (?, ?, ?, ?)');
    }
  }

  flush() {
    const versions = this.pending;
    if (versions.length === 0) return;
    this.pending = [];
    if (!this.#db) return;
    try {
      this.#write(versions);
    } catch (err) {
      process.stderr.write(`cannot write the data file, ending: ${err.message}\n`);
      process.exit(1); // memory is ahead of the file: nothing more may be acknowledged
    }
  }

  #write(versions) {
    this.#db.exec('BEGIN');
    for (const { record, resource, lastUpdated } of versions) {
      this.#insert.run(record.type, record.id, lastUpdated, resource ? JSON.stringify(resource) : null);
    }
    this.#db.exec('COMMIT');
  }

  loadInto(store) {
    if (!this.#db) return;
    const rows = this.#db.prepare('SELECT type, id, last_updated AS lastUpdated, content FROM version ORDER BY seq');
    for (const row of rows.iterate()) {
      store.load(row);
    }
    this.pending = [];
  }

  /** The id of the one project: kept with its data, so that other data is another project. */
  project() {
    const fresh = randomUUID();
    if (!this.#db) return fresh;
    this.#db.prepare('INSERT INTO project SELECT ? WHERE NOT EXISTS (SELECT * FROM project)').run(fresh);
    return this.#db.prepare('SELECT id FROM project').get().id;
  }

  saveBlob(id, content) {
    this.#db?.prepare('INSERT OR REPLACE INTO blob VALUES (?, ?)').run(id, content);
  }

  blobs() {
    return this.#db ? this.#db.prepare('SELECT id, content FROM blob').all() : [];
  }

  close() {
    this.#db?.close();
  }
}
