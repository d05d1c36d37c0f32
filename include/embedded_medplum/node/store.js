import { Table } from './table.js';

/**
 * The resources in memory, with their history, and the savepoints of transactions. Everything here is synchronous:
 * one request is one uninterrupted turn of the event loop, so a reader never sees half of a transaction.
 */
export class Store {
  #tables = new Map();
  #undo = [];
  #savepoints = 0;
  #seq = 0;
  #lastMs = 0;

  /** @param journal `{ pending: [] }`: versions are appended to `pending` and become durable at its `flush()`. */
  constructor(journal) {
    this.journal = journal;
  }

  table(type) {
    let table = this.#tables.get(type);
    if (!table) {
      table = new Table();
      this.#tables.set(type, table);
    }
    return table;
  }

  record(type, id) {
    return this.#tables.get(type)?.records.get(id);
  }

  /** The time of a new version: the clock, never backwards, so that the order by `lastUpdated` is the commit order. */
  now() {
    this.#lastMs = Math.max(this.#lastMs, Date.now());
    return new Date(this.#lastMs).toISOString();
  }

  put(type, id, resource) {
    return this.#append(type, id, resource, resource.meta.lastUpdated, false);
  }

  remove(type, id) {
    return this.#append(type, id, undefined, this.now(), true);
  }

  /** Puts a version read back from the journal. */
  load({ type, id, content, lastUpdated }) {
    const resource = content ? JSON.parse(content) : undefined;
    this.#append(type, id, resource, lastUpdated, !resource);
    this.#lastMs = Date.parse(lastUpdated);
  }

  #append(type, id, resource, lastUpdated, deleted) {
    const table = this.table(type);
    let record = table.records.get(id);
    if (!record) {
      record = { type, id, versions: [], current: undefined };
      table.records.set(id, record);
    }
    const version = { record, resource, lastUpdated, deleted, seq: ++this.#seq };
    table.push(version);
    this.journal.pending.push(version);
    if (this.#savepoints > 0) this.#undo.push(version);
    else table.compact();
    return version;
  }

  savepoint() {
    this.#savepoints++;
    return this.#undo.length;
  }

  release() {
    if (--this.#savepoints === 0) {
      this.#undo = [];
    }
  }

  /** Takes everything back that was written since the savepoint, and releases it. */
  rollback(mark) {
    while (this.#undo.length > mark) {
      const version = this.#undo.pop();
      this.table(version.record.type).pop(version);
      this.journal.pending.pop();
    }
    this.release();
  }
}
