import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { badRequest, deepClone, generateId, normalizeOperationOutcome, OperationOutcomeError } from '@medplum/core';
import { outcome } from './faults.js';

const WRITES = new Set(['create', 'update', 'delete']);

/**
 * Asynchronous batches, one at a time. A job's Bundle is kept until the job ends; after a restart an unfinished job
 * runs again from its first entry, as Medplum's does: only idempotent entries may go in one.
 */
export class Jobs {
  #queue = Promise.resolve();
  #stopped = false;

  /** @param runBatch `(bundle, before) => batch-response Bundle`, processing entries with `before` ahead of each. */
  constructor({ store, journal, blobs, quota, baseUrl, faults, runBatch, log }) {
    Object.assign(this, { store, journal, blobs, quota, baseUrl, faults, runBatch, log });
  }

  /** Stores the AsyncJob and queues the Bundle; returns the job's id. */
  submit(bundle, url) {
    const id = generateId();
    this.journal.saveJob(id, JSON.stringify(bundle));
    this.#save({ resourceType: 'AsyncJob', id, status: 'accepted', request: url, requestTime: this.store.now() });
    this.#enqueue(id, bundle);
    return id;
  }

  async resume(delaySeconds) {
    const waiting = this.journal.jobs();
    if (waiting.length === 0) return;
    await sleep(delaySeconds * 1000, undefined, { ref: false });
    waiting.forEach(({ id, bundle }) => this.#enqueue(id, JSON.parse(bundle)));
  }

  #enqueue(id, bundle) {
    this.#queue = this.#queue.then(() => this.#run(id, bundle)).catch((err) => this.log(`job ${id}: ${err.stack}`));
  }

  stop() {
    this.#stopped = true;
  }

  async #run(id, bundle) {
    const fault = this.faults?.job();
    if (fault) await this.#strike(bundle, fault);
    const { status, output } = fault?.kind === 'job-error' ? failed(outcome(fault)) : await this.#process(bundle);
    if (this.#stopped) return;
    const job = this.store.record('AsyncJob', id).current.resource;
    this.#save({ ...job, status, transactionTime: this.store.now(), output });
    this.journal.deleteJob(id);
  }

  /** What a killed worker leaves: some entries written and, if it hangs, a pause. */
  async #strike(bundle, { kind, after = 0, ms = 1000 }) {
    if (after > 0) await this.#process({ ...bundle, entry: bundle.entry?.slice(0, after) });
    if (kind === 'job-hang') await sleep(ms);
  }

  async #process(bundle) {
    try {
      if (bundle?.resourceType !== 'Bundle') throw new OperationOutcomeError(badRequest('Not a bundle'));
      const response = await this.runBatch(deepClone(bundle), (...args) => this.#before(...args));
      return { status: 'completed', output: this.#results(response) };
    } catch (err) {
      return failed(normalizeOperationOutcome(err));
    }
  }

  /** Lets other requests run between entries, and waits at the limit of the quota instead of failing. */
  async #before(cost, operation, resourceType, inTransaction) {
    if (!inTransaction) {
      this.journal.flush();
      await setImmediate();
      while (this.quota.remaining === 0) {
        await sleep(Math.max(1, this.quota.msBeforeNext));
      }
    }
    this.quota.take(cost);
    if (WRITES.has(operation)) this.faults?.entry(operation, resourceType);
  }

  #results(response) {
    const id = generateId();
    this.blobs.save(id, Buffer.from(JSON.stringify(response)));
    this.#save({ resourceType: 'Binary', id, contentType: 'application/fhir+json' });
    return {
      resourceType: 'Parameters',
      parameter: [{ name: 'results', valueReference: { reference: `Binary/${id}` } }],
    };
  }

  #save(resource) {
    const { resourceType, id, meta: _, ...elements } = resource;
    const meta = { versionId: generateId(), lastUpdated: this.store.now() };
    this.store.put(resourceType, id, { resourceType, id, meta, ...elements });
    this.journal.flush();
  }
}

function failed(resource) {
  return { status: 'error', output: { resourceType: 'Parameters', parameter: [{ name: 'outcome', resource }] } };
}
