import { globalSchema, MEDPLUM_VERSION } from '@medplum/core';

/** The version of Medplum's packages, by which clients and the contract tests know what to expect. */
export const VERSION = `${MEDPLUM_VERSION.split('-')[0]}-embedded`;

const INTERACTIONS = ['create', 'read', 'update', 'patch', 'delete', 'history-instance', 'vread', 'search-type'];
const CONDITIONAL = { conditionalCreate: true, conditionalUpdate: true, conditionalDelete: 'single' };

/** The CapabilityStatement of `GET /fhir/R4/metadata`. */
export function capabilityStatement(baseUrl) {
  const types = Object.entries(globalSchema.types).filter(([, type]) => type.searchParams);
  return {
    resourceType: 'CapabilityStatement',
    status: 'active',
    date: '2025-11-01',
    kind: 'instance',
    software: { name: 'Medplum', version: VERSION },
    implementation: { description: 'Embedded Medplum', url: `${baseUrl}fhir/R4` },
    fhirVersion: '4.0.1',
    format: ['json'],
    rest: [
      {
        mode: 'server',
        resource: types.map(resourceCapability),
        interaction: [{ code: 'transaction' }, { code: 'batch' }],
      },
    ],
  };
}

function resourceCapability([type, schema]) {
  const searchParam = Object.values(schema.searchParams).map(({ code, type: kind }) => ({ name: code, type: kind }));
  return {
    type,
    interaction: INTERACTIONS.map((code) => ({ code })),
    versioning: 'versioned',
    ...CONDITIONAL,
    searchParam,
  };
}
