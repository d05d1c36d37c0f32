import { badRequest, conflict, OperationOutcomeError, serverError } from '@medplum/core';
import { throttled } from './quota.js';

/** Where a kind strikes: the whole request, one search, one entry of a batch. */
const KINDS = {
  throttle: 'request',
  error: 'request',
  'cut-before': 'request',
  'cut-after': 'request',
  delay: 'request',
  late: 'request',
  phantom: 'request',
  'other-author': 'request',
  'revoke-token': 'request',
  'no-match': 'search',
  'entry-throttle': 'entry',
  'entry-conflict': 'entry',
  'entry-error': 'entry',
  'entry-invalid': 'entry',
};

/** The rules set by `POST /faults`; see README for their elements. */
export class Faults {
  #rules = [];
  #stalls = new Set();

  /** Replaces all rules; throws on one that cannot be understood. */
  set(rules) {
    this.#rules = rules
      .map(checkRule)
      .map((rule) => ({ ...rule, seen: 0, fired: 0, random: mulberry32(rule.seed ?? 1) }));
  }

  get rules() {
    return this.#rules.map(({ random: _, ...rule }) => rule);
  }

  /** Whether a rule is for batches of reads, or of writes, alone. */
  get looksIntoBatches() {
    return this.#rules.some((rule) => rule.entries);
  }

  /** The rules that strike a request, in the order they were given; `writes`: it is a batch with a write in it. */
  request(method, path, writes) {
    const strikes = (rule) => matches(rule, method, path) && (!rule.entries || (rule.entries === 'writes') === writes);
    return this.#rules.filter((rule) => KINDS[rule.kind] === 'request' && strikes(rule) && fires(rule));
  }

  /** Resolves after so many milliseconds, fewer when time is advanced meanwhile. */
  stall(ms) {
    return new Promise((resolve) => {
      const stall = { end: performance.now() + ms };
      stall.over = () => {
        this.#stalls.delete(stall);
        resolve();
      };
      stall.timer = setTimeout(stall.over, ms);
      this.#stalls.add(stall);
    });
  }

  /** Lets everything that stalls now go on so many milliseconds sooner. */
  advance(ms) {
    for (const stall of this.#stalls) {
      clearTimeout(stall.timer);
      stall.end -= ms;
      stall.timer = setTimeout(stall.over, Math.max(0, stall.end - performance.now()));
    }
  }

  /** Whether a rule wants a search to find nothing. */
  search({ resourceType, filters = [] }) {
    const asked = `${resourceType}?${filters.map(({ code, value }) => `${code}=${value}`).join('&')}`;
    return this.#rules.some((rule) => KINDS[rule.kind] === 'search' && matches(rule, 'search', asked) && fires(rule));
  }

  /** Throws what a rule wants one write of a batch to end in. */
  entry(operation, resourceType) {
    for (const rule of this.#rules) {
      if (KINDS[rule.kind] === 'entry' && matches(rule, operation, resourceType) && fires(rule)) {
        throw new OperationOutcomeError(outcome(rule));
      }
    }
  }
}

/** The OperationOutcome of a rule that answers with an error. */
export function outcome({ kind, status, ms_before_next }) {
  if (kind === 'throttle' || kind === 'entry-throttle') {
    return throttled({ _remainingPoints: 0, _msBeforeNext: ms_before_next ?? 1000, _isFirstInDuration: false });
  }
  if (kind === 'entry-conflict') return conflict('could not serialize access due to concurrent update', '40001');
  if (kind === 'entry-invalid') return badRequest('Connection terminated unexpectedly');
  return serverError(new Error(`Injected fault (${status ?? 500})`));
}

function checkRule(rule) {
  if (!(rule?.kind in KINDS)) throw new Error(`Unknown kind, expected one of ${Object.keys(KINDS).join(', ')}`);
  if (![rule.probability, rule.every, rule.next].some((value) => typeof value === 'number')) {
    throw new Error('A rule needs one of probability, every, next');
  }
  return rule;
}

/**
 * For an entry, `method` is the operation (create, update, delete) and `path` the resource type; for a search, `path` is
 * the type and the filters: `Patient?identifier=https://x.example/patient|`.
 */
function matches(rule, method, path) {
  const methodFits = !rule.method || rule.method.toLowerCase() === method.toLowerCase();
  return methodFits && (!rule.path || new RegExp(rule.path).test(path));
}

function fires(rule) {
  rule.seen++;
  const n = rule.seen - (rule.skip ?? 0);
  const hit =
    n > 0 && (rule.next >= n || (rule.every && n % rule.every === 0) || rule.random() < (rule.probability ?? 0));
  if (hit) rule.fired++;
  return hit;
}

/** A small deterministic generator of numbers in [0, 1). */
function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
