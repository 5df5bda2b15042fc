// For a service that a test starts with `--import` of this: on SIGUSR2 it collects its garbage, and says so in a line.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

process.on('SIGUSR2', () => {
  collect();
  process.stderr.write('garbage collected\n');
});
