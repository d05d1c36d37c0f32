/**
 * The keys under which a resource is found without a scan. A key is `kind NUL part NUL part`; kinds: `i` identifier
 * system and value, `is` identifier system, `iv` identifier value, `t`/`ts`/`tv` the same of `meta.tag`, `s`
 * `meta.source`, `r` any literal reference in the resource.
 */
export const key = (...parts) => parts.join('\0');

export function indexKeys(resource) {
  const keys = new Set();
  for (const identifier of identifiers(resource)) {
    addToken(keys, 'i', identifier.system, identifier.value);
  }
  for (const tag of resource.meta?.tag ?? []) {
    addToken(keys, 't', tag.system, tag.code);
  }
  if (resource.meta?.source) {
    keys.add(key('s', resource.meta.source));
  }
  addReferences(keys, resource);
  return keys;
}

/** `identifier` search parameters also cover `masterIdentifier` (DocumentReference, DocumentManifest). */
function identifiers(resource) {
  return [resource.identifier, resource.masterIdentifier].flat().filter((value) => value && typeof value === 'object');
}

function addToken(keys, kind, system, value) {
  const [s, v] = [trim(system), trim(value)];
  if (s && v) keys.add(key(kind, s, v));
  if (s) keys.add(key(kind + 's', s));
  if (v) keys.add(key(kind + 'v', v));
  if (v && !s) keys.add(key(kind, '', v));
}

function addReferences(keys, value) {
  for (const child of Object.values(value)) {
    if (child && typeof child === 'object') {
      addReferences(keys, child);
    }
  }
  if (typeof value.reference === 'string') {
    keys.add(key('r', value.reference));
  }
}

const trim = (value) => (typeof value === 'string' ? value.trim() : undefined);
