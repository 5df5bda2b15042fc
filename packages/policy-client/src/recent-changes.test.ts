import { describe, expect, it, vi } from 'vitest';
import {
  RECENT_COMMITS_MAX,
  RECENT_TAGS_MAX,
  RecentChanges,
  UNREAD_TAGS,
} from './recent-changes.ts';

describe('RecentChanges', () => {
  it('takes an answer from before its start for stale, whatever it depends on', () => {
    const recent = new RecentChanges(10);
    expect(recent.touchedSince(9, ['a'])).toBe(true);
    expect(recent.touchedSince(10, ['a'])).toBe(false);
  });

  it('finds a tag that changed after the answer, and none that changed with it or before', () => {
    const recent = new RecentChanges(0);
    recent.add(1, ['a']);
    recent.add(2, ['b', 'c']);
    expect(recent.touchedSince(0, ['a'])).toBe(true);
    expect(recent.touchedSince(1, ['a'])).toBe(false);
    expect(recent.touchedSince(1, ['x', 'c'])).toBe(true);
    expect(recent.touchedSince(2, ['a', 'b', 'c'])).toBe(false);
  });

  it('forgets the oldest at its limit, and then calls answers from that time stale', () => {
    const recent = new RecentChanges(0, 10);
    for (let revision = 1; revision <= 10; revision++) recent.add(revision, [`t${revision}`]);
    expect(recent.touchedSince(0, ['other'])).toBe(false);
    recent.add(11, ['t11']);
    expect(recent.touchedSince(0, ['other'])).toBe(true);
    expect(recent.touchedSince(1, ['other'])).toBe(false);
    expect(recent.touchedSince(1, ['t2'])).toBe(true);
    expect(RECENT_COMMITS_MAX).toBe(10_000);
  });

  it('forgets the oldest past its limit of tags, and never what the newest commit has changed', () => {
    const recent = new RecentChanges(0, 10, 4);
    recent.add(1, ['a', 'b']);
    recent.add(2, ['c', 'd']);
    expect(recent.touchedSince(0, ['other'])).toBe(false);
    recent.add(3, ['e']);
    expect(recent.touchedSince(0, ['other'])).toBe(true);
    expect(recent.touchedSince(1, ['other'])).toBe(false);
    expect(recent.touchedSince(1, ['d'])).toBe(true);
    recent.add(4, ['f', 'g', 'h', 'i', 'j']);
    expect(recent.touchedSince(2, ['other'])).toBe(true);
    expect(recent.touchedSince(3, ['other'])).toBe(false);
    expect(recent.touchedSince(3, ['j'])).toBe(true);
    expect(RECENT_TAGS_MAX).toBe(100_000);
  });

  it('reads tags that it was not told when an answer is older than them, once', () => {
    const recent = new RecentChanges(0);
    const read = vi.fn(() => ['a']);
    recent.add(1, read);
    expect(recent.touchedSince(1, ['a'])).toBe(false);
    expect(read).not.toHaveBeenCalled();
    expect(recent.touchedSince(0, ['other'])).toBe(false);
    expect(recent.touchedSince(0, ['a'])).toBe(true);
    expect(read).toHaveBeenCalledTimes(1);
  });

  it('counts a commit whose tags were not read for UNREAD_TAGS', () => {
    const recent = new RecentChanges(0, 10, UNREAD_TAGS + 1);
    recent.add(1, ['a']);
    recent.add(2, () => ['b']);
    expect(recent.touchedSince(0, ['other'])).toBe(false);
    recent.add(3, ['c']);
    expect(recent.touchedSince(0, ['other'])).toBe(true);
    expect(recent.touchedSince(1, ['b'])).toBe(true);
    expect(UNREAD_TAGS).toBe(2_000);
  });
});
