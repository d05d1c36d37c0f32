/**
 * A map from a key to a set of records. Most keys (an identifier) have exactly one record, so a single record is held
 * as it is and only a second one makes a Set.
 */
export class MultiMap {
  #map = new Map();

  add(key, record) {
    const held = this.#map.get(key);
    if (held === undefined) {
      this.#map.set(key, record);
    } else if (held instanceof Set) {
      held.add(record);
    } else if (held !== record) {
      this.#map.set(key, new Set([held, record]));
    }
  }

  delete(key, record) {
    const held = this.#map.get(key);
    if (held === record) {
      this.#map.delete(key);
    } else if (held instanceof Set) {
      held.delete(record);
      if (held.size === 0) {
        this.#map.delete(key);
      }
    }
  }

  /** The records of a key, as a Set that the caller must not change. */
  get(key) {
    const held = this.#map.get(key);
    if (held === undefined) {
      return EMPTY;
    }
    return held instanceof Set ? held : new Set([held]);
  }

  /** The records of any of several keys. */
  union(keys) {
    if (keys.length === 1) {
      return this.get(keys[0]);
    }
    const all = new Set();
    for (const key of keys) {
      const held = this.#map.get(key);
      if (held instanceof Set) {
        held.forEach((record) => all.add(record));
      } else if (held !== undefined) {
        all.add(held);
      }
    }
    return all;
  }
}

const EMPTY = new Set();
