import { formatSearchQuery } from '@medplum/core';

/** The links of a searchset. `last` is the last version of this page when there are more, else undefined. */
export function searchLinks(baseUrl, request, last) {
  const url = (changes) => `${baseUrl}fhir/R4/${request.resourceType}${formatSearchQuery({ ...request, ...changes })}`;
  const link = [
    { relation: 'self', url: url({}) },
    { relation: 'first', url: url({ offset: 0, cursor: undefined }) },
  ];
  if (last) {
    const byCursor = canUseCursor(request);
    const next = byCursor ? { cursor: `1-${last.seq}` } : { offset: request.offset + request.count };
    link.push({ relation: 'next', url: url(next) });
  }
  if (request.offset > 0) {
    link.push({ relation: 'previous', url: url({ offset: Math.max(0, request.offset - request.count) }) });
  }
  return link;
}

/** Medplum pages by cursor only for one ascending sort by `_lastUpdated` and no offset. */
function canUseCursor({ sortRules, offset, count }) {
  return (
    count > 0 &&
    offset === 0 &&
    sortRules?.length === 1 &&
    sortRules[0].code === '_lastUpdated' &&
    !sortRules[0].descending
  );
}
