import { randomUUID } from 'node:crypto';
import {
  allOk,
  badRequest,
  getStatus,
  isCreated,
  normalizeOperationOutcome,
  OperationOutcomeError,
  unauthorized,
} from '@medplum/core';
import { FhirRouter } from '@medplum/fhir-router';
import { policyOf } from './access.js';
import { capabilityStatement } from './capability.js';
import { MB, parseJson, readBody, send } from './http.js';
import { Repository } from './repository.js';
import { validate } from './validation.js';

const FHIR_JSON = 'application/fhir+json';
/** Medplum streams what is uploaded and has no limit of its own; here it is held in memory. */
const UPLOAD_BYTES = 256 * MB;
const JSON_TYPES = /^application\/(json|fhir\+json|json-patch\+json)\b/;
/** The answer of a project without the feature `async-batch`. The text is ours. */
const noAsyncBatch = badRequest('Asynchronous batches need the project feature async-batch');
const WRITES = new Set(['create', 'update', 'delete']);

/** The FHIR base `/fhir/R4/`, on Medplum's own router and batch processor. */
export class Fhir {
  constructor(context) {
    Object.assign(this, context); // store, blobs, journal, terminology, settings, quota, requests, tokens, output, faults
    this.router = new FhirRouter();
    this.router.add('POST', ':resourceType/$validate', async (req) => {
      validate(req.body, this.terminology);
      return [allOk];
    });
    this.router.add('POST', ':resourceType/:id/$set-accounts', async (req, repository) => {
      const accounts = (req.body.parameter ?? []).filter((p) => p.name === 'accounts').map((p) => p.valueReference);
      repository.setAccounts(req.params.resourceType, req.params.id, accounts);
      const parameter = [{ name: 'resourcesUpdated', valueInteger: 1 }];
      return [allOk, { resourceType: 'Parameters', parameter }];
    });
  }

  repository(before, client, extended = false) {
    return new Repository({ ...this.#storage(), before, extended, ...this.#access(client) });
  }

  /** What a client may do, and as whom it writes; the server's own client may do everything. */
  #access(client) {
    if (client === this.tokens.clientId) return {};
    return { policy: policyOf(this.store, client), author: { reference: `ClientApplication/${client}` } };
  }

  #storage() {
    const { store, blobs, terminology, settings, faults } = this;
    return { store, blobs, terminology, settings, faults };
  }

  /**
   * Answers one request.
   *
   * @param strikes `{ phantom, cutAfter, author }`: faults that were injected into it.
   */
  async handle(req, res, url, strikes = {}) {
    const path = url.pathname.replace(/^\/fhir\/R4\/?/, '');
    try {
      if (path === 'metadata')
        return await this.#reply(req, res, url, [allOk, capabilityStatement(this.settings.baseUrl)]);
      const client = this.#authenticate(req);
      this.requests.consume(1);
      const response = await this.#respond(req, path, url, client, strikes);
      if (strikes.cutAfter) return req.socket.destroy();
      return await this.#reply(req, res, url, response, strikes.author);
    } catch (err) {
      if (!(err instanceof OperationOutcomeError)) this.log(err.stack);
      return await this.#reply(req, res, url, [normalizeOperationOutcome(err)]);
    }
  }

  #authenticate(req) {
    const client = this.tokens.clientOf(req);
    if (!client) throw new OperationOutcomeError(unauthorized);
    return client;
  }

  async #respond(req, path, url, client, strikes) {
    const [type, id, last] = path.split('/');
    if (type === 'Binary' && id && !last && req.method === 'GET') return this.#readBinary(req, client, id);
    if (type === 'Binary' && !last && id !== '_search' && isUpload(req)) {
      return this.#upload(req, path, url, client, id, strikes);
    }
    const isBatch = path === '' && req.method === 'POST';
    const body = await this.#body(req, path);
    if (isBatch && req.headers.prefer === 'respond-async') return [noAsyncBatch];
    const request = this.#fhirRequest(req.method, `/${path}${url.search}`, body, req.headers);
    const extended = req.headers['x-medplum'] === 'extended';
    const repository = this.repository((...args) => this.#before(isBatch, ...args), client, extended);
    return this.#commit(() => this.router.handleRequest(request, repository), strikes);
  }

  /** No write is acknowledged before it is durable. A phantom answers as usual and keeps nothing. */
  async #commit(run, { phantom }) {
    if (phantom) {
      const mark = this.store.savepoint();
      const response = await run();
      this.store.rollback(mark);
      return response;
    }
    const response = await run();
    this.journal.flush();
    return response;
  }

  #before(isBatch, cost, operation, resourceType) {
    this.quota.consume(cost);
    if (isBatch && WRITES.has(operation)) this.faults?.entry(operation, resourceType);
  }

  #fhirRequest(method, url, body, headers) {
    const config = { transactions: this.settings.transactionBundles };
    return { method, url, pathname: '', params: {}, query: {}, body, headers, config };
  }

  async #body(req, path) {
    if (!['POST', 'PUT', 'PATCH'].includes(req.method)) return undefined;
    const type = req.headers['content-type'] ?? '';
    const content = await readBody(req, this.settings.maxJsonBytes);
    if (path.endsWith('/_search')) return formValues(content.toString());
    if (!JSON_TYPES.test(type)) throw new OperationOutcomeError(badRequest('Unsupported content type'));
    const body = parseJson(content);
    if (!body || typeof body !== 'object') throw new OperationOutcomeError(badRequest('Content could not be parsed'));
    return body;
  }

  /** Stores what is sent as the bytes of a Binary, whatever it is. */
  async #upload(req, path, url, client, id, strikes) {
    const content = await readBody(req, UPLOAD_BYTES);
    const context = req.headers['x-security-context'];
    const body = { resourceType: 'Binary', id, contentType: req.headers['content-type'] };
    if (context) body.securityContext = { reference: context };
    const request = this.#fhirRequest(req.method, `/${path}${url.search}`, body, req.headers);
    const repository = this.repository((...args) => this.#before(false, ...args), client);
    return this.#commit(async () => {
      const response = await this.router.handleRequest(request, repository);
      if (response[1]) this.blobs.save(response[1].id, content);
      return response;
    }, strikes);
  }

  /** The bytes of a Binary, unless the client asks for its FHIR metadata. */
  async #readBinary(req, client, id) {
    const repository = this.repository((...args) => this.#before(false, ...args), client);
    const resource = await repository.readResource('Binary', id);
    const content = this.blobs.get(id);
    return content && req.headers.accept !== FHIR_JSON ? [allOk, resource, { content }] : [allOk, resource];
  }

  async #reply(req, res, url, [outcome, resource, options], author) {
    const headers = this.#headers(outcome, resource);
    if (options?.content) {
      return send(req, res, 200, { ...headers, 'Content-Type': resource.contentType }, options.content);
    }
    const minimal = req.headers.prefer === 'return=minimal';
    const shape = {
      extended: req.headers['x-medplum'] === 'extended',
      pretty: url.searchParams.get('_pretty') === 'true',
      author,
    };
    const text = minimal ? '' : this.output.text(resource ?? outcome, shape);
    return send(req, res, getStatus(outcome), { ...headers, 'Content-Type': FHIR_JSON }, text);
  }

  #headers(outcome, resource) {
    const headers = { RateLimit: `${this.requests.header}, ${this.quota.header}`, 'X-Request-Id': randomUUID() };
    if (resource?.meta?.versionId) headers.ETag = `W/"${resource.meta.versionId}"`;
    if (resource?.meta?.lastUpdated) headers['Last-Modified'] = new Date(resource.meta.lastUpdated).toUTCString();
    if (isCreated(outcome) && resource) {
      headers.Location = `${this.settings.baseUrl}fhir/R4/${resource.resourceType}/${resource.id}`;
    }
    return headers;
  }
}

function isUpload(req) {
  return ['POST', 'PUT'].includes(req.method) && !JSON_TYPES.test(req.headers['content-type'] ?? '');
}

/** A form body as the router takes a query: a repeated name becomes an array. */
function formValues(text) {
  const form = new URLSearchParams(text);
  const names = new Set(form.keys());
  return Object.fromEntries([...names].map((name) => [name, form.getAll(name)]));
}
