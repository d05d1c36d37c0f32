import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { readBody, sendJson } from './http.js';

const MAX_FORM = 64 * 1024;

/**
 * Access tokens for the server's own client, and for every ClientApplication that is stored with a secret. A token is
 * its own record, signed with the own client's secret, so that it survives a restart of the server as Medplum's do.
 */
export class Tokens {
  #revokedBefore = 0;
  #issued = 0;

  constructor({ clientId, clientSecret, expiresIn, project, store }) {
    Object.assign(this, { clientId, clientSecret, expiresIn, project, store });
  }

  issue(client) {
    const claims = {
      client,
      exp: Date.now() + this.expiresIn * 1000,
      n: ++this.#issued,
      jti: randomUUID(),
    };
    const payload = Buffer.from(JSON.stringify(claims)).toString('base64url');
    return `${payload}.${this.#sign(payload)}`;
  }

  /** The id of the client that the request's token is of; undefined when it is not accepted. */
  clientOf(req) {
    const token = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1];
    const [payload, signature = ''] = token?.split('.') ?? [''];
    if (!token || !equal(signature, this.#sign(payload))) return undefined;
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
    const good = claims.exp > Date.now() && claims.n > this.#revokedBefore;
    return good && this.#secretOf(claims.client) !== undefined ? claims.client : undefined;
  }

  /** Makes every token issued so far invalid. */
  revoke() {
    this.#revokedBefore = this.#issued;
  }

  #sign(payload) {
    return createHmac('sha256', this.clientSecret).update(payload).digest('base64url');
  }

  knows(id, secret) {
    const known = this.#secretOf(id);
    return known !== undefined && equal(secret, known);
  }

  #secretOf(id) {
    if (id === this.clientId) return this.clientSecret;
    return this.store.record('ClientApplication', id)?.current.resource?.secret;
  }
}

function equal(a, b) {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}

/** `POST /oauth2/token` for `client_credentials`: form or Basic; every mistake is 400 `invalid_request`. */
export async function handleToken(req, res, tokens) {
  const refuse = (text) => sendJson(req, res, 400, { error: 'invalid_request', error_description: text });
  if (!/^application\/x-www-form-urlencoded/.test(req.headers['content-type'] ?? '')) {
    return refuse('Unsupported content type');
  }
  const form = new URLSearchParams((await readBody(req, MAX_FORM)).toString());
  if (form.get('grant_type') !== 'client_credentials') return refuse('Unsupported grant type');
  const [id, secret] = credentials(req, form);
  if (!id || !secret) return refuse('Missing client ID or secret');
  if (!tokens.knows(id, secret)) return refuse('Invalid client');
  const scope = form.get('scope') ?? 'openid';
  const project = { reference: `Project/${tokens.project}` };
  const profile = { reference: `ClientApplication/${id}` };
  const access = { token_type: 'Bearer', expires_in: tokens.expiresIn, scope, access_token: tokens.issue(id) };
  const body = { ...access, project, profile };
  return sendJson(req, res, 200, body);
}

function credentials(req, form) {
  const basic = /^Basic (.+)$/.exec(req.headers.authorization ?? '')?.[1];
  if (!basic) return [form.get('client_id'), form.get('client_secret')];
  const [, id, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(basic, 'base64').toString()) ?? [];
  return [id, secret];
}
