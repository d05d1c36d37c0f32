import {
  accessPolicySupportsInteraction,
  forbidden,
  notFound,
  OperationOutcomeError,
  satisfiedAccessPolicy,
} from '@medplum/core';

/** Of a client without a membership. */
const NOTHING = { resourceType: 'AccessPolicy', resource: [] };

/** The access policy of a client's membership in the project: read at each request, as Medplum does. */
export function policyOf(store, client) {
  const profile = `ClientApplication/${client}`;
  for (const { current } of store.table('ProjectMembership').records.values()) {
    const { profile: of, accessPolicy } = current.resource ?? {};
    if (of?.reference === profile) {
      const id = accessPolicy?.reference?.split('/')[1];
      return store.record('AccessPolicy', id)?.current.resource ?? NOTHING;
    }
  }
  return NOTHING;
}

/**
 * The rules of a policy, by Medplum's own functions; no policy allows everything. What may not be done is 403, what
 * may not be seen is not there.
 */
export class Access {
  constructor(policy) {
    this.policy = policy;
  }

  /** Whether the interaction is allowed with some resources of the type at least. Throws 403. */
  type(interaction, resourceType) {
    if (this.policy && !accessPolicySupportsInteraction(this.policy, interaction, resourceType)) {
      throw new OperationOutcomeError(forbidden);
    }
  }

  allows(interaction, resource) {
    return !this.policy || Boolean(satisfiedAccessPolicy(resource, interaction, this.policy));
  }

  /** Throws 403 for a write of a resource that is not allowed. */
  write(interaction, resource) {
    if (!this.allows(interaction, resource)) throw new OperationOutcomeError(forbidden);
  }

  /** Throws 404 for a resource that may not be seen. */
  seen(interaction, resource) {
    if (!this.allows(interaction, resource)) throw new OperationOutcomeError(notFound);
    return resource;
  }
}
