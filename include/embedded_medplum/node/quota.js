import { OperationOutcomeError, setRateLimitReset, tooManyRequests } from '@medplum/core';

/** Points of one interaction, as Medplum counts them. */
export const COST = { read: 1, history: 10, search: 20, write: 100 };

/** A fixed window of one minute that starts with its first use. */
export class Window {
  #ends = 0;
  #used = 0;

  constructor(name, limit, windowMs = 60_000) {
    Object.assign(this, { name, limit, windowMs });
  }

  get msBeforeNext() {
    return Math.max(0, this.#ends - Date.now());
  }

  get remaining() {
    return Math.max(0, this.limit - (this.msBeforeNext > 0 ? this.#used : 0));
  }

  /** Takes units, or throws 429 with the time to wait. */
  consume(units) {
    if (this.msBeforeNext === 0) {
      this.#ends = Date.now() + this.windowMs;
      this.#used = 0;
    }
    this.#used += units;
    if (this.#used > this.limit) throw new OperationOutcomeError(this.#refusal());
  }

  #refusal() {
    const state = {
      _remainingPoints: 0,
      _msBeforeNext: Math.max(1, this.msBeforeNext),
      _consumedPoints: this.#used,
      _isFirstInDuration: false,
      limit: this.limit,
    };
    return throttled(state);
  }

  get header() {
    const seconds = Math.ceil((this.msBeforeNext || this.windowMs) / 1000);
    return `"${this.name}";r=${this.remaining};t=${seconds}`;
  }
}

/** The 429 outcome: the time to wait is in `diagnostics`, as in every version, and in an extension since 5.2. */
export function throttled(state) {
  const issue = { ...tooManyRequests.issue[0], diagnostics: JSON.stringify(state) };
  const outcome = { ...tooManyRequests, issue: [issue] };
  setRateLimitReset(outcome, state._msBeforeNext);
  return outcome;
}
