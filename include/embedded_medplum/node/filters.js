import {
  badRequest,
  matchesSearchRequest,
  OperationOutcomeError,
  Operator,
  splitSearchOnComma,
  toPeriod,
} from '@medplum/core';
import { inCompartment } from './compartment.js';
import { searchParameter } from './definitions.js';
import { key } from './indexes.js';

const MATCHED_TYPES = new Set(['reference', 'string', 'uri', 'token', 'date']);
const PRESENCE = [Operator.MISSING, Operator.PRESENT];

/**
 * Splits the filters of a search request into what the indexes answer and what must be evaluated.
 *
 * @returns `{ sets, test }`: the record sets a match is in, and a predicate over a version for the rest.
 */
export function planFilters(table, request) {
  const sets = [];
  const tests = [];
  const remaining = [];
  for (const filter of request.filters ?? []) {
    checkSupported(request.resourceType, filter);
    const set = indexed(table, request.resourceType, filter);
    if (set) sets.push(set);
    if (filter.code === '_compartment') tests.push(inCompartment(splitSearchOnComma(filter.value)));
    else if (filter.code === '_lastUpdated' && !PRESENCE.includes(filter.operator)) tests.push(lastUpdatedTest(filter));
    else if (!set || NEEDS_TEST.has(searchParameter(request.resourceType, filter.code).type)) remaining.push(filter);
  }
  if (remaining.length) {
    const rest = { resourceType: request.resourceType, filters: remaining };
    tests.push((version) => matchesSearchRequest(version.resource, rest));
  }
  return { sets, test: (version) => tests.every((test) => test(version)) };
}

/** The reference index holds references of any element, so the element is still to be checked. */
const NEEDS_TEST = new Set(['reference']);

function checkSupported(resourceType, { code, operator }) {
  if (code.includes('.') || code.startsWith('_has:')) {
    throw new OperationOutcomeError(badRequest(`Chained search is not supported by the embedded server: ${code}`));
  }
  const param = searchParameter(resourceType, code);
  if (!param) {
    throw new OperationOutcomeError(badRequest(`Unknown search parameter: ${code}`));
  }
  if (!MATCHED_TYPES.has(param.type) && !PRESENCE.includes(operator)) {
    throw new OperationOutcomeError(
      badRequest(`A ${param.type} search is not supported by the embedded server: ${code}`),
    );
  }
}

function indexed(table, resourceType, { code, operator, value }) {
  if (operator !== Operator.EQUALS) return undefined;
  const values = splitSearchOnComma(value);
  if (code === '_id') return new Set(values.map((id) => table.records.get(id)).filter((r) => r && !r.current.deleted));
  if (code === 'identifier') return table.index.union(values.map((v) => tokenKey('i', v)));
  if (code === '_tag') return table.index.union(values.map((v) => tokenKey('t', v)));
  if (code === '_source') return table.index.union(values.map((v) => key('s', v)));
  if (code === '_compartment')
    return resourceType === 'Patient' ? undefined : table.index.union(values.map((v) => key('r', v)));
  const literal = searchParameter(resourceType, code).type === 'reference' && values.every((v) => v.includes('/'));
  return literal ? table.index.union(values.map((v) => key('r', v))) : undefined;
}

/** `s|v`, `s|` (any value of the system), `|v` (no system) and `v` (any system); case matters, as in Medplum. */
function tokenKey(kind, token) {
  const bar = token.indexOf('|');
  if (bar < 0) return key(kind + 'v', token.trim());
  const [system, value] = [token.slice(0, bar).trim(), token.slice(bar + 1).trim()];
  return value ? key(kind, system, value) : key(kind + 's', system);
}

/** `lastUpdated` is compared as an instant in milliseconds; a date means the whole period. */
function lastUpdatedTest({ operator, value }) {
  const { start, end } = toPeriod(value) ?? {};
  if (!start) throw new OperationOutcomeError(badRequest(`Invalid date: ${value}`));
  const [first, last] = [Date.parse(start), Date.parse(end)];
  const compare =
    {
      [Operator.GREATER_THAN]: (t) => t > last,
      [Operator.STARTS_AFTER]: (t) => t > last,
      [Operator.GREATER_THAN_OR_EQUALS]: (t) => t >= first,
      [Operator.LESS_THAN]: (t) => t < first,
      [Operator.ENDS_BEFORE]: (t) => t < first,
      [Operator.LESS_THAN_OR_EQUALS]: (t) => t <= last,
      [Operator.NOT_EQUALS]: (t) => t < first || t > last,
    }[operator] ?? ((t) => t >= first && t <= last);
  return (version) => compare(Date.parse(version.lastUpdated));
}
