import { readFileSync } from 'node:fs';
import type { Load } from '../mqtt/generator.ts';

/** Linux counts in hundredths of a second. */
const TICKS_PER_SECOND = 100;

/** Seconds of processor time that a process has used. */
function usedBy(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name of the program is in brackets and may contain anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Seconds of processor time that the whole machine has used. */
function usedByAll(): number {
  const [, user, nice, system, , , irq, softIrq] = readFileSync('/proc/stat', 'utf8').split(/\s+/);
  const ticks = [user, nice, system, irq, softIrq].reduce((sum, one) => sum + Number(one), 0);
  return ticks / TICKS_PER_SECOND;
}

function usedByUs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Resident memory of a process in KiB. */
export function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? NaN);
}

/** What generator, broker and the others use between the call and the call of what it answers. */
export function measureLoad(brokerPid: number): () => Load {
  const start = performance.now();
  const before = { us: usedByUs(), broker: usedBy(brokerPid), all: usedByAll() };
  return () => {
    const seconds = (performance.now() - start) / 1000;
    const us = usedByUs() - before.us;
    const broker = usedBy(brokerPid) - before.broker;
    return {
      generatorShare: us / seconds,
      brokerShare: broker / seconds,
      othersShare: Math.max(0, usedByAll() - before.all - us - broker) / seconds,
    };
  };
}
