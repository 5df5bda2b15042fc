import { readFileSync } from 'node:fs';

const SAMPLE_MS = 250;
/** Lines of ours say their level; whatever else comes from Node is trouble: a stack, a warning. */
const ROUTINE = /"level":"(?:trace|debug|info|warn)"/;

/** KiB of resident memory; NaN when there is no such process. */
export function residentKib(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? NaN);
  } catch {
    return NaN;
  }
}

/** What the process under attack writes and how much memory it has. */
export class Watch {
  #pid = 0;
  #timer: NodeJS.Timeout | undefined;
  #lines = 0;
  #counting = false;
  /** KiB, in the order of time. */
  readonly samples: number[] = [];
  /** Lines of errors, and of nobody who knows levels. */
  readonly troubles: string[] = [];

  /** To be handed to the process as it starts. */
  readonly onLine = (line: string): void => {
    if (!this.#counting) return;
    this.#lines += 1;
    if (!ROUTINE.test(line) && this.troubles.length < 100) this.troubles.push(line);
  };

  /** From now on lines and memory count. */
  begin(pid: number): void {
    this.#pid = pid;
    this.#counting = true;
    this.#timer = setInterval(() => this.sample(), SAMPLE_MS);
    this.sample();
  }

  get lines(): number {
    return this.#lines;
  }

  sample(): void {
    const kib = residentKib(this.#pid);
    if (!Number.isNaN(kib)) this.samples.push(kib);
  }

  end(): void {
    clearInterval(this.#timer);
    this.#counting = false;
  }
}
