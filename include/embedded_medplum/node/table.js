import { indexKeys } from './indexes.js';
import { MultiMap } from './multimap.js';

/**
 * All resources of one type. A record is `{ id, versions, current }`, a version `{ record, resource, deleted, seq }`;
 * `seq` counts the commits of the server, so its order is the order of `lastUpdated`.
 */
export class Table {
  records = new Map();
  index = new MultiMap();
  /** Every version in commit order; those that are no longer current are skipped, and dropped now and then. */
  #timeline = [];
  live = 0;

  push(version) {
    const { record } = version;
    const previous = record.current;
    record.versions.push(version);
    this.#setCurrent(record, previous, version);
    this.#timeline.push(version);
  }

  /** Takes the newest version of a record back; only ever called in the reverse order of `push`. */
  pop(version) {
    const { record } = version;
    record.versions.pop();
    this.#setCurrent(record, version, record.versions.at(-1));
    this.#timeline.pop();
    if (record.versions.length === 0) {
      this.records.delete(record.id);
    }
  }

  #setCurrent(record, before, after) {
    record.current = after;
    const oldKeys = keysOf(before);
    const newKeys = keysOf(after);
    oldKeys.forEach((key) => newKeys.has(key) || this.index.delete(key, record));
    newKeys.forEach((key) => oldKeys.has(key) || this.index.add(key, record));
    this.live += Number(isLive(after)) - Number(isLive(before));
  }

  /** Drops versions that are no longer current from the timeline. Never while a savepoint is open. */
  compact() {
    if (this.#timeline.length > 2 * this.live + 1000) {
      this.#timeline = this.#timeline.filter((version) => version.record.current === version && !version.deleted);
    }
  }

  /** The current versions in order of commit, from the first with `seq` above `after`. */
  *walk({ after = -1, descending = false } = {}) {
    const list = this.#timeline;
    const first = this.#firstAfter(after);
    for (let n = 0; n < list.length - first; n++) {
      const version = list[descending ? list.length - 1 - n : first + n];
      if (version.record.current === version && !version.deleted) {
        yield version;
      }
    }
  }

  #firstAfter(seq) {
    let [low, high] = [0, this.#timeline.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#timeline[middle].seq > seq) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

const NO_KEYS = new Set();
const isLive = (version) => Boolean(version && !version.deleted);

function keysOf(version) {
  if (!isLive(version)) return NO_KEYS;
  version.keys ??= indexKeys(version.resource);
  return version.keys;
}
