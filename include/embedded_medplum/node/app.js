import { Readable } from 'node:stream';
import { getStatus, normalizeOperationOutcome } from '@medplum/core';
import { VERSION } from './capability.js';
import { outcome } from './faults.js';
import { parseJson, readBody, send, sendJson, MB } from './http.js';
import { handleToken } from './oauth.js';

/** Stands in for another client, of which the server knows none. */
const OTHER_CLIENT = { reference: 'ClientApplication/00000000-0000-4000-8000-000000000001', display: 'Another client' };

/** Routes HTTP requests to the token endpoint, the FHIR base, storage, and the fault switch. */
export class App {
  #atWork = 0;

  /**
   * @param faults undefined unless the server was started with `--faults`.
   * @param reset puts an App that knows nothing in the place of this one; undefined without `--faults`, or with a data file.
   */
  constructor({ fhir, tokens, tokenRequests, output, blobs, faults, log, reset }) {
    Object.assign(this, { fhir, tokens, tokenRequests, output, blobs, faults, log, reset });
  }

  /** Logs method, path, status and time: never a body, never a query string. */
  async handle(req, res) {
    const started = performance.now();
    const url = new URL(req.url, 'http://localhost');
    res.on('close', () => {
      const ms = Math.round(performance.now() - started);
      this.log(`${req.method} ${url.pathname} ${res.writableFinished ? res.statusCode : 'cut'} ${ms}ms`);
    });
    this.#atWork++;
    try {
      await this.#route(req, res, url);
    } catch (err) {
      this.log(err.stack);
      if (!res.headersSent) await sendJson(req, res, 500, normalizeOperationOutcome(err));
    } finally {
      this.#atWork--;
    }
  }

  async #route(req, res, url) {
    const { pathname } = url;
    if (pathname === '/healthcheck') return sendJson(req, res, 200, { ok: true, version: VERSION });
    if (pathname.startsWith('/oauth2/')) return this.#oauth(req, res, pathname);
    if (pathname === '/auth/me') return this.#me(req, res);
    if (pathname === '/faults' && this.faults) return this.#faults(req, res);
    if (pathname === '/advance' && this.faults && req.method === 'POST') return this.#advance(req, res);
    if (pathname === '/reset' && this.reset && req.method === 'POST') return this.#reset(req, res);
    if (pathname.startsWith('/storage/')) return this.#storage(req, res, url);
    if (/^\/fhir\/R4(\/|$)/.test(pathname)) return this.#fhir(req, res, url);
    return sendJson(req, res, 404, { error: 'not found' });
  }

  async #oauth(req, res, pathname) {
    try {
      this.tokenRequests.consume(1);
    } catch (err) {
      return sendJson(req, res, 429, err.outcome);
    }
    if (pathname === '/oauth2/token' && req.method === 'POST') return handleToken(req, res, this.tokens);
    return sendJson(req, res, 404, { error: 'not found' });
  }

  /** Of Medplum's answer what a client cannot know otherwise: which project it is of, and as whom it writes. */
  async #me(req, res) {
    const id = this.tokens.clientOf(req);
    if (!id) return sendJson(req, res, 401, { error: 'unauthorized' });
    const { project } = this.tokens;
    const profile = { resourceType: 'ClientApplication', id };
    return sendJson(req, res, 200, { project: { resourceType: 'Project', id: project }, profile });
  }

  async #faults(req, res) {
    if (req.method === 'POST') {
      try {
        this.faults.set(parseJson(await readBody(req, MB)).rules ?? []);
      } catch (err) {
        return sendJson(req, res, 400, { error: err.message });
      }
    }
    return sendJson(req, res, 200, { rules: this.faults.rules });
  }

  /** Answers how many other requests are at work, those too whose clients have gone. */
  async #advance(req, res) {
    this.faults.advance(Number(parseJson(await readBody(req, MB)).ms ?? 0));
    return sendJson(req, res, 200, { at_work: this.#atWork - 1 });
  }

  async #reset(req, res) {
    this.reset();
    return sendJson(req, res, 200, {});
  }

  async #storage(req, res, url) {
    const id = url.pathname.split('/')[2];
    const content = this.output.isSigned(id, url.searchParams) && this.blobs.get(id);
    return content ? send(req, res, 200, {}, content) : sendJson(req, res, 403, { error: 'forbidden' });
  }

  async #fhir(req, res, url) {
    if (this.faults?.looksIntoBatches && req.method === 'POST' && /^\/fhir\/R4\/?$/.test(url.pathname)) {
      const body = await readBody(req, 64 * MB);
      return this.#struck(replayed(req, body), res, url, /"method":"(POST|PUT|PATCH|DELETE)"/.test(body.toString()));
    }
    return this.#struck(req, res, url, undefined);
  }

  /** @param writes whether the request is a batch with a write; undefined when nobody asks. */
  async #struck(req, res, url, writes) {
    const strikes = {};
    for (const rule of this.faults?.request(req.method, url.pathname, writes) ?? []) {
      if (rule.kind === 'delay') await this.faults.stall(rule.ms ?? 1000);
      else if (rule.kind === 'late') return this.#late(req, res, url, rule);
      else if (rule.kind === 'revoke-token') this.tokens.revoke();
      else if (rule.kind === 'cut-before') return req.socket.destroy();
      else if (rule.kind === 'cut-after') strikes.cutAfter = true;
      else if (rule.kind === 'phantom') strikes.phantom = true;
      else if (rule.kind === 'other-author') strikes.author = OTHER_CLIENT;
      else return this.#refuse(req, res, rule);
    }
    return this.fhir.handle(req, res, url, strikes);
  }

  /** A gateway gives up and answers at once; what was asked is done all the same, later. */
  async #late(req, res, url, rule) {
    const body = await readBody(req, MB);
    await sendJson(req, res, 504, outcome({ status: 504 }));
    await this.faults.stall(rule.ms ?? 1000);
    return this.fhir.handle(replayed(req, body), { writeHead() {}, end() {} }, url);
  }

  /** Answers with an injected error, after the body has arrived so that the client reads the answer. */
  async #refuse(req, res, rule) {
    await readBody(req, 0).catch(() => undefined);
    const body = outcome(rule);
    const status = rule.kind === 'error' ? (rule.status ?? 500) : getStatus(body);
    return sendJson(req, res, status, body, { 'Content-Type': 'application/fhir+json' });
  }
}

/** The same request with its body, inflated, to be read again. */
function replayed({ method, socket, headers, url }, body) {
  return Object.assign(Readable.from([body]), { method, socket, url, headers: { ...headers, 'content-encoding': '' } });
}
