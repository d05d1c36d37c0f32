/** The bytes of Binary resources, by id. */
export class Blobs {
  #content = new Map();
  #journal;

  constructor(journal) {
    this.#journal = journal;
    for (const { id, content } of journal.blobs()) {
      this.#content.set(id, Buffer.from(content));
    }
  }

  save(id, content) {
    this.#content.set(id, content);
    this.#journal.saveBlob(id, content);
  }

  get(id) {
    return this.#content.get(id);
  }
}
