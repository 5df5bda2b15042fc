import { writeFileSync } from 'node:fs';
import { repositoryPath } from '@sallyport/test-kit';
import { benchCluster } from './cluster.ts';
import { benchFold, benchVerdicts } from './decisions.ts';
import { benchLog } from './log.ts';
import { benchMqtt } from './mqtt.ts';
import { benchRefusals } from './refusals.ts';
import { allBoundFigures, allComparisons, allDetails, allFigures } from './report.ts';
import { benchRules } from './rules.ts';
import { benchScale, MILLION_OPTION } from './scale.ts';
import { benchStorm } from './storm.ts';

const parts: Readonly<Record<string, () => void | Promise<void>>> = {
  log: benchLog,
  fold: benchFold,
  verdicts: benchVerdicts,
  cluster: benchCluster,
  mqtt: benchMqtt,
  storm: benchStorm,
  refusals: () => benchRefusals(args),
  rules: () => benchRules(args),
  scale: () => benchScale({ million: wanted.includes('scale') || args.includes(MILLION_OPTION) }),
};

const args = process.argv.slice(2);
// The first option ends the list of parts; the rest is for whichever part knows it.
const options = args.findIndex((one) => one.startsWith('--'));
const wanted = options < 0 ? args : args.slice(0, options);
const unknown = wanted.find((name) => !Object.hasOwn(parts, name));
if (unknown !== undefined) {
  console.error(`unknown part ${unknown}; parts are ${Object.keys(parts).join(', ')}`);
  process.exit(1);
}
for (const [name, run] of Object.entries(parts)) {
  if (wanted.length === 0 || wanted.includes(name)) await run();
}
const path = repositoryPath('bench-results.json');
const results = {
  node: process.version,
  figures: allFigures(),
  boundFigures: allBoundFigures(),
  comparisons: allComparisons(),
  details: allDetails(),
};
writeFileSync(path, `${JSON.stringify(results, null, 2)}\n`);
console.log(`\nwritten to ${path}`);
