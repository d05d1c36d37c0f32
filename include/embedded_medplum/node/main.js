import { createServer } from 'node:http';
import { App } from './app.js';
import { Blobs } from './blobs.js';
import { loadDefinitions } from './definitions.js';
import { Faults } from './faults.js';
import { Fhir } from './fhir.js';
import { Journal } from './journal.js';
import { Tokens } from './oauth.js';
import { readOptions } from './options.js';
import { Output } from './output.js';
import { Window } from './quota.js';
import { Store } from './store.js';
import { Terminology } from './terminology.js';

const log = (text) => process.stdout.write(`${new Date().toISOString()} ${text}\n`);
const options = readOptions(process.argv.slice(2), process.env);

loadDefinitions();

const server = createServer();
server.keepAliveTimeout = 65_000;
await new Promise((resolve) => server.listen(options.port, options.host, resolve));
const { port } = server.address();

const settings = {
  baseUrl: options['base-url'] ?? `http://${options.host}:${port}/`,
  transactionBundles: options['transaction-bundles'],
  checkReferencesOnWrite: options['check-references'],
  projectAdmin: options['project-admin'],
  maxJsonBytes: options['max-json-bytes'],
};

/** A server that knows what the data file has: without one, nothing. */
function open() {
  const journal = new Journal(options.data);
  const store = new Store(journal);
  journal.loadInto(store);
  const project = journal.project();
  const tokens = new Tokens({
    project,
    clientId: options['client-id'],
    clientSecret: options['client-secret'],
    expiresIn: options['expires-in'],
    store,
  });
  const output = new Output({
    baseUrl: settings.baseUrl,
    author: { reference: `ClientApplication/${options['client-id']}`, display: 'Embedded client' },
    project,
    secret: options['client-secret'],
  });
  const faults = options.faults ? new Faults() : undefined;
  const blobs = new Blobs(journal);
  const quota = new Window('fhirInteractions', options.quota, options['quota-window'] * 1000);
  const requests = new Window('requests', options['request-limit']);
  const terminology = new Terminology();
  const fhir = new Fhir({ store, journal, blobs, terminology, settings, quota, requests, tokens, output, faults, log });
  const tokenRequests = new Window('requests', options['token-limit']);
  const reset = options.faults && !options.data ? startAnew : undefined;
  return { app: new App({ fhir, tokens, tokenRequests, output, blobs, faults, log, reset }), journal };
}

let present = open();

/** What is still at work goes on in what was before, where nobody sees it. */
function startAnew() {
  present = open();
}

server.on('request', (req, res) => present.app.handle(req, res));
log(`listening on ${settings.baseUrl}`);

function stop() {
  present.journal.flush();
  present.journal.close();
  process.exit(0);
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
if (options['watch-stdin']) {
  process.stdin.on('end', stop).resume(); // the parent is gone
}
