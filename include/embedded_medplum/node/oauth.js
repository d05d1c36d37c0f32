import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { readBody, sendJson } from './http.js';

const MAX_FORM = 64 * 1024;

/**
 * Access tokens for one client. A token is its own record, signed with the client's secret, so that it survives a
 * restart of the server as Medplum's do.
 */
export class Tokens {
  #revokedBefore = 0;
  #issued = 0;

  constructor({ clientId, clientSecret, expiresIn, project }) {
    Object.assign(this, { clientId, clientSecret, expiresIn, project });
  }

  issue() {
    const claims = {
      client: this.clientId,
      exp: Date.now() + this.expiresIn * 1000,
      n: ++this.#issued,
      jti: randomUUID(),
    };
    const payload = Buffer.from(JSON.stringify(claims)).toString('base64url');
    return `${payload}.${this.#sign(payload)}`;
  }

  accepts(token) {
    const [payload, signature = ''] = token.split('.');
    if (!equal(signature, this.#sign(payload))) return false;
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
    return claims.client === this.clientId && claims.exp > Date.now() && claims.n > this.#revokedBefore;
  }

  /** Makes every token issued so far invalid. */
  revoke() {
    this.#revokedBefore = this.#issued;
  }

  #sign(payload) {
    return createHmac('sha256', this.clientSecret).update(payload).digest('base64url');
  }

  knows(id, secret) {
    return equal(id, this.clientId) && equal(secret, this.clientSecret);
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
  const profile = { reference: `ClientApplication/${tokens.clientId}` };
  const access = { token_type: 'Bearer', expires_in: tokens.expiresIn, scope, access_token: tokens.issue() };
  const body = { ...access, project, profile };
  return sendJson(req, res, 200, body);
}

function credentials(req, form) {
  const basic = /^Basic (.+)$/.exec(req.headers.authorization ?? '')?.[1];
  if (!basic) return [form.get('client_id'), form.get('client_secret')];
  const [, id, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(basic, 'base64').toString()) ?? [];
  return [id, secret];
}
