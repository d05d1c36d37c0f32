import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { badRequest, contentTooLarge, OperationOutcomeError } from '@medplum/core';

const unzip = promisify(gunzip);
const zip = promisify(gzip);
const SMALLEST_ZIPPED = 1024;

export const MB = 1024 * 1024;
const tooLarge = () => new OperationOutcomeError(contentTooLarge('File too large'));

/** The body as a Buffer, inflated; throws 413 "File too large" over `limit` inflated bytes. */
export async function readBody(req, limit) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size <= limit) chunks.push(chunk); // the rest is read and dropped, so that the answer reaches the client
  }
  if (size > limit) throw tooLarge();
  const raw = Buffer.concat(chunks);
  return req.headers['content-encoding'] === 'gzip' ? inflate(raw, limit) : raw;
}

async function inflate(raw, limit) {
  try {
    return await unzip(raw, { maxOutputLength: limit });
  } catch (err) {
    if (err.code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge();
    throw new OperationOutcomeError(badRequest('Content could not be parsed'));
  }
}

export function parseJson(buffer) {
  try {
    return JSON.parse(buffer.toString('utf8'));
  } catch {
    throw new OperationOutcomeError(badRequest('Content could not be parsed'));
  }
}

/** Sends a body (string, Buffer or none), gzipped if the client takes that and it is worth it. */
export async function send(req, res, status, headers, body = '') {
  let content = Buffer.isBuffer(body) ? body : Buffer.from(body);
  const out = { ...headers };
  if (content.length >= SMALLEST_ZIPPED && /\bgzip\b/.test(req.headers['accept-encoding'] ?? '')) {
    content = await zip(content, { level: 1 });
    out['Content-Encoding'] = 'gzip';
  }
  out['Content-Length'] = content.length;
  res.writeHead(status, out);
  res.end(content);
}

export const sendJson = (req, res, status, value, headers = {}) =>
  send(req, res, status, { 'Content-Type': 'application/json', ...headers }, JSON.stringify(value));
