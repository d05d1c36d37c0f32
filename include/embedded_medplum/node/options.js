import { parseArgs } from 'node:util';

const number = (fallback) => ({ type: 'string', default: String(fallback) });
const flag = { type: 'boolean', default: false };

const OPTIONS = {
  port: number(0),
  host: { type: 'string', default: '127.0.0.1' },
  'base-url': { type: 'string' },
  data: { type: 'string' },
  'client-id': { type: 'string', default: 'f54370de-eaf3-4d81-a17e-24860f667912' },
  'expires-in': number(3600),
  quota: number(50_000),
  'quota-window': number(60),
  'request-limit': number(60_000),
  'token-limit': number(160),
  'max-json-bytes': number(1024 * 1024),
  'transaction-bundles': flag,
  'check-references': flag,
  'project-admin': flag,
  faults: flag,
  'watch-stdin': flag,
};

/** The command line of `main.js`. The client's secret comes from the environment, not from the process list. */
export function readOptions(argv, env) {
  const { values } = parseArgs({ args: argv, options: OPTIONS });
  const numbers = Object.keys(OPTIONS).filter((name) => /^\d+$/.test(OPTIONS[name].default ?? ''));
  const parsed = Object.fromEntries(numbers.map((name) => [name, Number(values[name])]));
  return { ...values, ...parsed, 'client-secret': env.MEDPLUM_CLIENT_SECRET ?? 'embedded-secret' };
}
