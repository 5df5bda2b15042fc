import { createHash } from 'node:crypto';
import { decideOn, Overlay, type PlannedCommand, type Revision } from '@sallyport/domain';
import type { Rejection } from '@sallyport/errors';
import type { ApiContext } from '../http/context.ts';
import { RefusedError, refused } from '../http/problems.ts';
import type { CommandInputs } from '../http/write.ts';
import { derivedId } from '../http/commit-identity.ts';
import { located } from './list-section.ts';
import { References } from './references.ts';
import type { Change, ComparedWith } from './section.ts';
import { SECTIONS } from './sections.ts';
import { inOrderOfTaking } from './update-order.ts';
import { turn } from '../bulk/turn.ts';

/** Most changes of one plan. */
export const PLAN_CHANGES_MAX = 10_000;

/** What has to be changed so that everything is as a file says. */
export interface Plan {
  /** In the order in which they are made. */
  readonly changes: readonly Change[];
  /** Newest revision that was looked at. */
  readonly revision: Revision;
  /** Names exactly this plan: the same changes of the same objects at the same revisions. */
  readonly tag: string;
}

type ConfigFile = Readonly<Record<string, unknown>>;

/** @throws RefusedError `invalid_request` for a file that contradicts itself, `too_many_rows` */
export async function planOf(
  context: ApiContext,
  file: ConfigFile,
  { prune, by }: Pick<ComparedWith, 'prune' | 'by'>,
): Promise<Plan> {
  const { model, clock } = context.ports;
  const { revision, reads } = model;
  const references = new References({ sections: SECTIONS, file, reads, prune });
  const changes: Change[] = [];
  const last: Change[][] = [];
  for (const section of SECTIONS) {
    const value = file[section.name];
    if (value === undefined) continue;
    const against = { context, at: clock(), prune, by, references };
    const found = await section.compare(value, against);
    const of = (action: Change['action']) => found.filter((one) => one.action === action);
    // What goes away, and what changes, may free what comes; but not while others refer to it.
    if (section.deletedLast === true) last.push(of('delete'));
    else changes.push(...of('delete'));
    changes.push(...inOrderOfTaking(of('update')), ...of('create'));
  }
  changes.push(...last.reverse().flat());
  if (changes.length > PLAN_CHANGES_MAX) {
    throw refused('too_many_rows', { detail: `At most ${PLAN_CHANGES_MAX} changes are made.` });
  }
  return { changes, revision, tag: tagOf(changes) };
}

function tagOf(changes: readonly Change[]): string {
  const hash = createHash('sha256');
  for (const { section, action, key, fields, after, updatedRevision, secretTag } of changes) {
    const parts = [section, action, key, fields, after, updatedRevision, secretTag];
    hash.update(`${JSON.stringify(parts)}\n`);
  }
  return `"plan-${hash.digest('hex').slice(0, 32)}"`;
}

/** A plan whose changes have been decided, and what everything would be with them. */
export interface Rehearsed {
  readonly made: readonly { readonly change: Change; readonly command: PlannedCommand }[];
  readonly overlay: Overlay;
}

/** Finds out whether the domain takes the changes, one after the other. @throws RefusedError what it says, with the pointer into the file */
export async function rehearse(context: ApiContext, { changes }: Plan): Promise<Rehearsed> {
  const { model, clock } = context.ports;
  const at = clock();
  const inputs: CommandInputs = { at, id: (purpose) => derivedId('rehearsal', purpose) };
  const overlay = new Overlay(model.reads, at);
  const made: Rehearsed['made'][number][] = [];
  for (const [index, change] of changes.entries()) {
    const command = change.rehearsal(inputs);
    const decided = decideOn(overlay, command, at);
    if (!decided.ok) throw new RefusedError(pointedAt(decided.rejection, change));
    made.push({ change, command });
    if (index % 100 === 99) await turn();
  }
  return { made, overlay };
}

/** The rejection of a change, as one of the file. */
export function pointedAt(rejection: Rejection, { pointer, section, key }: Change): Rejection {
  const { code, problems } = located(rejection, pointer);
  return { code, detail: `${section}: ${key}`, ...(problems && { problems }) };
}

/** A change as it is told to callers. */
export const changeView = ({ section, action, key, pointer, fields, before, after }: Change) => ({
  section,
  action,
  key,
  pointer,
  ...(fields === undefined ? {} : { fields }),
  ...(before === undefined ? {} : { before }),
  ...(after === undefined ? {} : { after }),
});
