import { badRequest, createReference, OperationOutcomeError, parseSearchRequest } from '@medplum/core';

/** Every Reference-like object in a resource, with its path: `[{ parent, key, path, reference }]`. */
function* references(parent, path) {
  for (const [key, child] of Object.entries(parent)) {
    if (!child || typeof child !== 'object') continue;
    const childPath = Array.isArray(parent) ? `${path}[${key}]` : `${path}.${key}`;
    if (typeof child.reference === 'string') {
      yield { parent, key, path: childPath, reference: child.reference };
    } else {
      yield* references(child, childPath);
    }
  }
}

/** Replaces each `Type?query` reference in place by a literal one with a display; 400 unless exactly one matches. */
export async function resolveConditionalReferences(resource, search) {
  for (const { parent, key, path, reference } of references(resource, resource.resourceType)) {
    if (!reference.includes('?')) continue;
    const matches = await search({ ...parseSearchRequest(reference), sortRules: undefined, count: 2 });
    if (matches.length !== 1) {
      const found = matches.length ? 'matched multiple' : 'did not match any';
      throw new OperationOutcomeError(badRequest(`Conditional reference '${reference}' ${found} resources`, path));
    }
    parent[key] = createReference(matches[0]);
  }
}

/** What a project with `checkReferencesOnWrite` does: 400 for a literal reference to nothing. */
export function checkReferences(resource, exists) {
  const issue = [];
  for (const { path, reference } of references(resource, resource.resourceType)) {
    if (!/^[#%]/.test(reference) && !exists(...reference.split('/'))) {
      const details = { text: 'Invalid reference (Not found)' };
      issue.push({ severity: 'error', code: 'structure', details, expression: [path] });
    }
  }
  if (issue.length) {
    throw new OperationOutcomeError({ resourceType: 'OperationOutcome', issue });
  }
}
