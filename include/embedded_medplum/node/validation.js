import {
  badRequest,
  evalFhirPathTyped,
  globalSchema,
  LRUCache,
  OperationOutcomeError,
  toTypedValue,
  validateResource,
} from '@medplum/core';

/** PostgreSQL refuses a B-tree entry longer than this many bytes: a third of a page. */
const MAX_INDEXED_BYTES = 2704;
/** Tokens are indexed by hash, so their length does not matter. */
const INDEXED_TYPES = new Set(['string', 'uri']);
const expressions = new LRUCache(1000);

/** Throws an OperationOutcomeError for what a strict Medplum project refuses: structure, invariants, required bindings. */
export function validate(resource, terminology) {
  const tokens = {};
  validateResource(resource, { collect: { tokens } });
  const invalid = terminology.invalidTokens(tokens);
  if (invalid.length > 0) {
    throw new OperationOutcomeError({ resourceType: 'OperationOutcome', issue: invalid.map(bindingIssue) });
  }
}

function bindingIssue({ url, path }) {
  const text = `Value did not satisfy terminology binding ${url}`;
  return { severity: 'error', code: 'structure', details: { text }, expression: [path] };
}

/** Throws the database's refusal of an indexed string that does not fit into an index entry. */
export function checkIndexedLengths(resource) {
  if (!longStrings(resource).length) return;
  for (const param of Object.values(globalSchema.types[resource.resourceType]?.searchParams ?? {})) {
    const values = INDEXED_TYPES.has(param.type)
      ? evalFhirPathTyped(param.expression, [toTypedValue(resource)], undefined, expressions)
      : [];
    const [long] = values.flatMap(({ value }) => longStrings({ value }));
    if (long) throw new OperationOutcomeError(badRequest(indexError(resource.resourceType, param.code, long)));
  }
}

function longStrings(value) {
  return Object.values(value).flatMap((child) => {
    if (typeof child === 'string') return Buffer.byteLength(child) > MAX_INDEXED_BYTES ? [child] : [];
    return child && typeof child === 'object' ? longStrings(child) : [];
  });
}

function indexError(type, code, text) {
  const size = Buffer.byteLength(text) + 16;
  return `index row size ${size} exceeds btree version 4 maximum ${MAX_INDEXED_BYTES} for index "${type}_${code}_idx"`;
}
