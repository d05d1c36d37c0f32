import { badRequest, evalFhirPath, isResourceType, OperationOutcomeError, subsetResource } from '@medplum/core';
import { searchParameter } from './definitions.js';
import { planFilters } from './filters.js';
import { searchLinks } from './links.js';

const DEFAULT_COUNT = 20;
const MAX_COUNT = 1000;
const MAX_OFFSET = 10_000;
/** A set up to this size is sorted; a larger one is met while walking the table in commit order. */
const SORTED_SET = 20_000;

/** The resources that match and are `visible`, at most `request.count`, in commit order; for conditional operations. */
export function findResources(store, request, visible) {
  return page(store, { ...normalize(request), visible }).map((version) => version.resource);
}

/** A searchset Bundle with total (when asked for) and links. */
export function searchBundle(store, baseUrl, given, visible) {
  const request = { ...normalize(given), visible };
  const found = page(store, { ...request, count: request.count + 1 });
  const versions = found.slice(0, request.count);
  const total = ['accurate', 'estimate'].includes(request.total) ? countMatches(store, request) : undefined;
  const entry = versions.map((version) => bundleEntry(baseUrl, request, version));
  return {
    resourceType: 'Bundle',
    type: 'searchset',
    entry: entry.length ? entry : undefined,
    total,
    link: searchLinks(baseUrl, request, found.length > request.count ? versions.at(-1) : undefined),
  };
}

function bundleEntry(baseUrl, request, { record, resource }) {
  return {
    fullUrl: `${baseUrl}fhir/R4/${record.type}/${record.id}`,
    search: { mode: 'match' },
    resource: subset(request, resource),
  };
}

function subset({ fields, summary }, resource) {
  if (fields) return subsetResource({ ...resource }, fields);
  if (summary === 'text') return subsetResource({ ...resource }, ['text']);
  return resource;
}

function normalize(request) {
  if (!isResourceType(request.resourceType)) {
    throw new OperationOutcomeError(badRequest(`Invalid resource type: ${request.resourceType}`));
  }
  if (request.resourceType === 'Binary') {
    throw new OperationOutcomeError(badRequest('Cannot search on Binary resource type'));
  }
  if (request.include || request.revInclude) {
    throw new OperationOutcomeError(badRequest('_include and _revinclude are not supported by the embedded server'));
  }
  const count = Math.min(request.count ?? DEFAULT_COUNT, MAX_COUNT);
  const offset = request.offset ?? 0;
  if (!(count >= 0) || !(offset >= 0)) {
    throw new OperationOutcomeError(badRequest('Invalid _count or _offset'));
  }
  if (offset > MAX_OFFSET) {
    throw new OperationOutcomeError(badRequest(`Search offset exceeds maximum (got ${offset}, max ${MAX_OFFSET})`));
  }
  return { ...request, count, offset };
}

function page(store, request) {
  if (request.count === 0) return [];
  const rules = request.sortRules ?? [];
  const byTime = rules.length === 0 || (rules.length === 1 && rules[0].code === '_lastUpdated');
  if (!byTime) {
    const all = sortVersions([...matches(store, request, {})], request);
    return all.slice(request.offset, request.offset + request.count);
  }
  const walk = { after: cursorSeq(request.cursor), descending: Boolean(rules[0]?.descending) };
  return take(matches(store, request, walk), request.offset, request.count);
}

function take(versions, offset, count) {
  const taken = [];
  let skipped = 0;
  for (const version of versions) {
    if (skipped++ < offset) continue;
    taken.push(version);
    if (taken.length === count) break;
  }
  return taken;
}

function countMatches(store, request) {
  let total = 0;
  for (const _ of matches(store, request, {})) total++;
  return total;
}

/** The matching versions in commit order. */
function* matches(store, request, walk) {
  const table = store.table(request.resourceType);
  const { sets, test: fits } = planFilters(table, request);
  const test = (version) => fits(version) && request.visible(version.resource);
  const [smallest, ...others] = sets.sort((a, b) => a.size - b.size);
  if (smallest && smallest.size <= Math.max(SORTED_SET, table.live / 4)) {
    for (const version of sortedSet(smallest, walk)) {
      if (others.every((set) => set.has(version.record)) && test(version)) yield version;
    }
    return;
  }
  for (const version of table.walk(walk)) {
    if (sets.every((set) => set.has(version.record)) && test(version)) yield version;
  }
}

function sortedSet(records, { after = -1, descending }) {
  const versions = Array.from(records, (record) => record.current).filter((version) => version.seq > after);
  return versions.sort((a, b) => (descending ? b.seq - a.seq : a.seq - b.seq));
}

function sortVersions(versions, { resourceType, sortRules }) {
  const keys = new Map(
    versions.map((version) => [version, sortRules.map((rule) => sortKey(resourceType, rule, version))]),
  );
  return versions.sort((a, b) => {
    for (const [i, { descending }] of sortRules.entries()) {
      const [x, y] = [keys.get(a)[i], keys.get(b)[i]];
      if (x !== y) return (x < y ? -1 : 1) * (descending ? -1 : 1);
    }
    return a.seq - b.seq;
  });
}

function sortKey(resourceType, { code }, { resource }) {
  if (code === '_id') return resource.id;
  if (code === '_lastUpdated') return resource.meta.lastUpdated;
  const expression = searchParameter(resourceType, code)?.expression;
  if (!expression) throw new OperationOutcomeError(badRequest(`Unknown search parameter: ${code}`));
  return JSON.stringify(evalFhirPath(expression, resource));
}

/** A cursor is `1-<commit number>`: the walk goes on behind it, so equal `lastUpdated` values cannot break it. */
export function cursorSeq(cursor) {
  if (cursor === undefined) return undefined;
  const match = /^1-(\d+)$/.exec(cursor);
  if (!match) throw new OperationOutcomeError(badRequest('Invalid cursor'));
  return Number(match[1]);
}
