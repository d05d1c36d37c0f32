import {
  applyPatch,
  badRequest,
  deepClone,
  deepEquals,
  fhirpathPatchTypedValue,
  generateId,
  gone,
  isResourceType,
  normalizeOperationOutcome,
  notFound,
  OperationOutcomeError,
  parseFhirPathPatchParameters,
  preconditionFailed,
  stringify,
  toTypedValue,
} from '@medplum/core';
import { FhirRepository } from '@medplum/fhir-router';
import { Access } from './access.js';
import { COST } from './quota.js';
import { checkReferences, resolveConditionalReferences } from './references.js';
import { findResources, searchBundle } from './search.js';
import { checkIndexedLengths, validate } from './validation.js';

/** Elements of `meta` that the server owns; what a client sends there is ignored, but for an admin's accounts. */
const SERVER_META = ['versionId', 'lastUpdated', 'author', 'project', 'account', 'accounts', 'compartment'];

/** The filters of a search that finds nothing, for the injected fault `no-match`. */
const NO_MATCH = [{ code: '_id', operator: 'eq', value: 'none' }];

/**
 * One request's view of the store. `before(cost, operation, resourceType)` is called ahead of every interaction:
 * it counts points, refuses (429), or injects a fault.
 */
export class Repository extends FhirRepository {
  /** @param policy of the client, none for the server's own; `author` as whom it writes, if it is another. */
  constructor({ store, blobs, terminology, settings, faults, before, extended, policy, author }) {
    super();
    Object.assign(this, { store, blobs, terminology, settings, faults, before, extended, author });
    this.access = new Access(policy);
  }

  setMode() {}

  generateId() {
    return generateId();
  }

  #enter(cost, operation, resourceType) {
    this.before(cost, operation, resourceType);
    this.access.type(operation, resourceType);
  }

  async createResource(resource, options) {
    this.#enter(COST.write, 'create', resource.resourceType);
    const id = options?.assignedId && resource.id ? resource.id : generateId();
    const { resourceType } = resource;
    if (this.store.record(resourceType, id))
      throw new OperationOutcomeError(badRequest('Assigned ID is already in use'));
    const prepared = await this.#prepare({ ...resource, id });
    this.access.write('create', prepared);
    return this.#write(withAccounts(prepared, this.#accounts(prepared, resource.meta)));
  }

  async updateResource(resource, options) {
    this.#enter(COST.write, 'update', resource.resourceType);
    const record = this.#record(resource.resourceType, resource.id); // 404 for an id chosen by the client
    const elements = await this.#prepare(resource);
    const { current } = record; // read after the last wait: what is compared here is what is replaced below
    if (options?.ifMatch) checkVersion(current, options.ifMatch);
    if (current.resource) this.access.write('update', current.resource);
    this.access.write('update', elements);
    const prepared = withAccounts(elements, this.#accounts(elements, resource.meta, current.resource?.meta));
    return isUnchanged(prepared, current) ? current.resource : this.#write(prepared);
  }

  /** Resolves references, validates, and removes what is empty and what the server owns. */
  async #prepare(resource) {
    const { resourceType, id, meta, ...elements } = resource;
    const prepared = { resourceType, id, meta: withoutServerMeta(meta), ...elements };
    await resolveConditionalReferences(prepared, (request) => this.searchResources(request));
    validate(prepared, this.terminology);
    if (this.settings.checkReferencesOnWrite) checkReferences(prepared, (...ref) => this.#exists(...ref));
    checkIndexedLengths(prepared);
    return this.#withoutData(JSON.parse(stringify(prepared)));
  }

  /** The `data` of a Binary lives beside the resource, as in Medplum's binary storage. */
  #withoutData(resource) {
    if (resource.resourceType !== 'Binary' || !resource.data) return resource;
    this.blobs.save(resource.id, Buffer.from(resource.data, 'base64'));
    const { data: _, ...rest } = resource;
    return rest;
  }

  /**
   * Who may see a resource, by the rules of Medplum's `Repository.getAccounts`: an admin in extended mode who sends a
   * `meta` says so with it, also by leaving the accounts out; else a Patient keeps its own and anything else has those
   * of the Patient that it is about.
   */
  #accounts(resource, sent, existing) {
    if (sent && this.extended && this.settings.projectAdmin) return accountsOf(sent);
    if (resource.resourceType === 'Patient') return accountsOf(existing);
    const [type, id] = (resource.subject ?? resource.patient ?? resource.beneficiary)?.reference?.split('/') ?? [];
    return type === 'Patient' ? accountsOf(this.store.record(type, id)?.current.resource?.meta) : [];
  }

  /** `$set-accounts` without propagation: a write of the server's own, hence a new version. */
  setAccounts(resourceType, id, accounts) {
    this.#enter(COST.write, 'update', resourceType);
    const { resource } = this.#live(resourceType, id);
    const { account: _, accounts: __, ...meta } = resource.meta;
    return this.#write(withAccounts({ ...resource, meta }, accounts));
  }

  #exists(type, id) {
    const record = this.store.record(type, id);
    return Boolean(record && !record.current.deleted);
  }

  #write(prepared) {
    const { resourceType, id, meta, ...elements } = prepared;
    const author = this.author ? { author: this.author } : {};
    const stamped = { ...meta, ...author, versionId: generateId(), lastUpdated: this.store.now() };
    return this.store.put(resourceType, id, { resourceType, id, meta: stamped, ...elements }).resource;
  }

  /** @param patch a JSON Patch (array), or a FHIRPath Patch (Parameters). */
  async patchResource(resourceType, id, patch, options) {
    const resource = deepClone(this.#live(resourceType, id).resource);
    try {
      if (Array.isArray(patch)) applyJsonPatch(resource, patch);
      else fhirpathPatchTypedValue(toTypedValue(resource), parseFhirPathPatchParameters(patch));
    } catch (err) {
      throw new OperationOutcomeError(normalizeOperationOutcome(err));
    }
    return this.updateResource(resource, options);
  }

  async deleteResource(resourceType, id, options) {
    this.#enter(COST.write, 'delete', resourceType);
    const current = this.#record(resourceType, id).current;
    if (options?.ifMatch) checkVersion(current, options.ifMatch);
    if (current.deleted) return;
    this.access.write('delete', current.resource);
    this.store.remove(resourceType, id);
  }

  async readResource(resourceType, id) {
    this.#enter(COST.read, 'read', resourceType);
    return this.access.seen('read', this.#live(resourceType, id).resource);
  }

  async readReference(reference) {
    const [resourceType, id, ...rest] = reference.reference?.split('/') ?? [];
    if (!id || rest.length) throw new OperationOutcomeError(badRequest('Invalid reference'));
    return this.readResource(resourceType, id);
  }

  async readReferences(references) {
    return Promise.all(references.map((reference) => this.readReference(reference).catch((err) => err)));
  }

  async readHistory(resourceType, id, options) {
    this.#enter(COST.history, 'history', resourceType);
    const { current, versions: all } = this.#record(resourceType, id);
    if (current.resource) this.access.seen('history', current.resource);
    const versions = all.toReversed();
    const offset = options?.offset ?? 0;
    const entry = versions.slice(offset, offset + (options?.limit ?? 100)).map((v) => this.#historyEntry(v));
    return { resourceType: 'Bundle', type: 'history', entry };
  }

  #historyEntry({ record, resource, lastUpdated, deleted }) {
    const fullUrl = `${this.settings.baseUrl}fhir/R4/${record.type}/${record.id}`;
    const request = { method: deleted ? 'DELETE' : 'GET', url: `${record.type}/${record.id}` };
    if (!deleted) return { fullUrl, request, response: { status: '200' }, resource };
    const issue = [{ ...gone.issue[0], details: { text: `Deleted on ${lastUpdated}` } }];
    return { fullUrl, request, response: { status: '410', outcome: { ...gone, issue } } };
  }

  async readVersion(resourceType, id, vid) {
    this.#enter(COST.read, 'vread', resourceType);
    const version = this.#record(resourceType, id).versions.find((v) => v.resource?.meta.versionId === vid);
    if (!version) throw new OperationOutcomeError(notFound);
    return this.access.seen('vread', version.resource);
  }

  #record(resourceType, id) {
    if (!isResourceType(resourceType)) throw new OperationOutcomeError(badRequest('Unknown resource type'));
    const record = this.store.record(resourceType, id);
    if (!record) throw new OperationOutcomeError(notFound);
    return record;
  }

  #live(resourceType, id) {
    const { current } = this.#record(resourceType, id);
    if (current.deleted) throw new OperationOutcomeError(gone);
    return current;
  }

  async search(searchRequest) {
    this.#enter(COST.search, 'search', searchRequest.resourceType);
    const asked = this.faults?.search(searchRequest) ? { ...searchRequest, filters: NO_MATCH } : searchRequest;
    return searchBundle(this.store, this.settings.baseUrl, asked, (one) => this.access.allows('search', one));
  }

  /** Conditional operations and references come this way. */
  async searchResources(searchRequest) {
    this.#enter(COST.search, 'search', searchRequest.resourceType);
    return findResources(this.store, searchRequest, (one) => this.access.allows('search', one));
  }

  async searchByReference(searchRequest, referenceField, references) {
    const found = {};
    for (const value of references) {
      const filters = [...(searchRequest.filters ?? []), { code: referenceField, operator: 'eq', value }];
      found[value] = await this.searchResources({ ...searchRequest, filters });
    }
    return found;
  }

  async withTransaction(callback) {
    const mark = this.store.savepoint();
    try {
      const result = await callback(this);
      this.store.release();
      return result;
    } catch (err) {
      this.store.rollback(mark);
      throw err;
    }
  }
}

function applyJsonPatch(resource, patch) {
  const errors = applyPatch(resource, patch).filter(Boolean);
  if (errors.length) throw new OperationOutcomeError(badRequest(errors.map((e) => e.message).join('\n')));
}

function checkVersion(current, versionId) {
  if (current.deleted || current.resource.meta.versionId !== versionId) {
    throw new OperationOutcomeError(preconditionFailed);
  }
}

/** Whether an update says nothing new. The `meta` of the current version also has what the server put there. */
function isUnchanged(prepared, current) {
  if (current.deleted) return false;
  const { versionId, lastUpdated, author } = current.resource.meta;
  const stamps = { versionId, lastUpdated, ...(author ? { author } : {}) };
  return deepEquals({ ...prepared, meta: { ...prepared.meta, ...stamps } }, current.resource);
}

function accountsOf(meta) {
  const { account, accounts = [] } = meta ?? {};
  return !account || accounts.some(({ reference }) => reference === account.reference)
    ? accounts
    : [account, ...accounts];
}

function withAccounts(resource, accounts) {
  if (!accounts.length) return resource;
  return { ...resource, meta: { ...resource.meta, account: accounts[0], accounts } };
}

function withoutServerMeta(meta) {
  if (meta === null || typeof meta !== 'object') return meta; // for validation to refuse, or absent
  const kept = Object.entries(meta).filter(([name]) => !SERVER_META.includes(name));
  return kept.length ? Object.fromEntries(kept) : undefined;
}
