import { createHmac } from 'node:crypto';

const ATTACHMENT = /"url":"Binary\/([0-9a-f-]{36})"/g;
const VERSION = '00000000-0000-4000-8000-000000000000';
const SIGNED_FOR_MS = 3600_000;

/** Turns response resources into text: extended `meta` when asked for, signed URLs for attachments. */
export class Output {
  constructor({ baseUrl, author, project, secret }) {
    Object.assign(this, { baseUrl, author, project, secret });
  }

  /** @param shape `author`: whom to show as the author instead. */
  text(resource, { extended, pretty, author }) {
    const shown = inside(resource, (one) => (extended ? this.#extended(one, author) : plain(one)));
    const json = JSON.stringify(shown, undefined, pretty ? 2 : undefined);
    return json.includes('"Binary/') ? json.replace(ATTACHMENT, (_, id) => `"url":"${this.#signedUrl(id)}"`) : json;
  }

  /** What has no author of its own was written by the server's own client; there is one project. */
  #extended(resource, told) {
    if (!resource.meta) return resource;
    const author = told ?? resource.meta.author ?? this.author;
    return { ...resource, meta: { ...resource.meta, author, project: this.project } };
  }

  /** Medplum's URL ends in the id of the Binary's version, too; here its bytes have one place, so any will do. */
  #signedUrl(id) {
    const expires = Date.now() + SIGNED_FOR_MS;
    return `${this.baseUrl}storage/${id}/${VERSION}?Expires=${expires}&Signature=${this.#signature(id, expires)}`;
  }

  #signature(id, expires) {
    return createHmac('sha256', this.secret).update(`${id} ${expires}`).digest('base64url');
  }

  /** Whether a `/storage/<id>` URL is one of ours and still good. */
  isSigned(id, query) {
    const expires = Number(query.get('Expires'));
    return expires > Date.now() && query.get('Signature') === this.#signature(id, expires);
  }
}

/** A resource as `show` shows it; of a Bundle what it holds. */
function inside(resource, show) {
  if (resource.resourceType !== 'Bundle' || !resource.entry) return show(resource);
  const entry = resource.entry.map((e) => (e.resource ? { ...e, resource: inside(e.resource, show) } : e));
  return { ...resource, entry };
}

function plain(resource) {
  if (!resource.meta?.account && !resource.meta?.author) return resource;
  const { account: _, accounts: __, author: ___, ...meta } = resource.meta;
  return { ...resource, meta };
}
