import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  ageOf,
  ARRIVING_SLICES,
  type Brakeable,
  type Braked,
  EVENTS_A_TURN,
  TurnWatch,
  ReadingPace,
  LEAVING_SLICES,
  StormBrake,
  UNDER_WAY_MS_MAX,
} from './storm-brake.ts';

const limits = { clientsMin: 100, turnMsMax: 10 };
const times = (count: number, act: () => void): void => {
  for (let index = 0; index < count; index++) act();
};
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const { min: SLICE_MIN, max: SLICE_MAX } = LEAVING_SLICES;

describe('a watch over those who come or leave', () => {
  it('sees no storm in one too few, however long they take', () => {
    const watch = new TurnWatch(limits);
    times(98, () => watch.seen(0));
    expect(watch.seen(60_000)).toBe(false);
    expect(watch.seen(60_000)).toBe(true);
  });

  it('sees no storm in any number that is quick enough', () => {
    const watch = new TurnWatch(limits);
    times(100_000, () => watch.seen(5));
    expect(watch.seen(14.9)).toBe(false);
    expect(watch.seen(15)).toBe(true);
  });

  it('sees none in as many as were expected', () => {
    const watch = new TurnWatch(limits);
    times(355, () => watch.seen(0, 256));
    expect(watch.seen(10, 257)).toBe(false);
    expect(watch.seen(10, 257)).toBe(true);
  });

  it('counts what takes longer as several', () => {
    const watch = new TurnWatch(limits);
    times(32, () => watch.seen(0, 0, 3));
    expect(watch.seen(10, 0, 3)).toBe(false);
    expect(watch.seen(10, 0, 3)).toBe(true);
  });

  it('begins again with every turn', () => {
    const watch = new TurnWatch(limits);
    times(99, () => watch.seen(0));
    watch.turned();
    expect(watch.quiet).toBe(true);
    times(99, () => watch.seen(1000));
    expect(watch.seen(1009.9)).toBe(false);
    expect(watch.clients).toBe(100);
    expect(watch.seen(1010)).toBe(true);
  });
});

describe('the order of reading again', () => {
  it.each([
    [-Infinity, 0],
    [-1, 0],
    [0, 0],
    [63.9, 0],
    [64, 1],
    [127.9, 1],
    [128, 2],
    [64 * 2 ** 13, 14],
    [64 * 2 ** 14, 15],
    [64 * 2 ** 20, 15],
  ])('has who was silent for %d ms at %i', (silentMs, age) => {
    expect(ageOf(silentMs)).toBe(age);
  });
});

describe('the pace of reading again', () => {
  it('doubles in short turns, up to its most', () => {
    const pace = new ReadingPace(10, LEAVING_SLICES);
    const slices = Array.from({ length: 4 }, () => {
      pace.turned(4.9);
      return pace.slice;
    });
    expect(slices).toEqual([2 * SLICE_MIN, SLICE_MAX, SLICE_MAX, SLICE_MAX]);
  });

  it('halves in long turns, down to its least, and stays in those that fit', () => {
    const pace = new ReadingPace(10, LEAVING_SLICES);
    times(3, () => pace.turned(0));
    pace.turned(5);
    pace.turned(10);
    expect(pace.slice).toBe(SLICE_MAX);
    pace.turned(10.1);
    expect(pace.slice).toBe(SLICE_MAX / 2);
    times(5, () => pace.turned(1000));
    expect(pace.slice).toBe(SLICE_MIN);
  });
});

class Socket implements Brakeable {
  isRead = true;
  readonly heardAt: number;
  readonly #wanted: boolean;
  readonly #onRead: (() => void) | undefined;

  constructor(heardAt = 0, wanted = true, onRead?: () => void) {
    this.heardAt = heardAt;
    this.#wanted = wanted;
    this.#onRead = onRead;
  }

  stopReading(): boolean {
    const stopped = this.#wanted && this.isRead;
    this.isRead &&= !stopped;
    return stopped;
  }

  readAgain(): void {
    this.isRead = true;
    this.#onRead?.();
  }
}

function setUp(
  sockets: readonly Brakeable[],
  changed: Partial<typeof limits> = {},
  slices = LEAVING_SLICES,
  underWayMax = Infinity,
) {
  let now = 100_000;
  const brakes: Braked[] = [];
  let released = 0;
  const brake = new StormBrake({
    limits: { ...limits, ...changed },
    slices,
    underWayMax,
    onBrake: (braked) => brakes.push(braked),
    onReleased: () => (released += 1),
    clock: () => now,
  });
  brake.add(() => sockets);
  return {
    brake,
    brakes,
    releases: () => released,
    pass: (ms: number) => void (now += ms),
    storm: (count = 100, ms = 10) => {
      times(count - 1, () => brake.seen());
      now += ms;
      brake.seen();
    },
  };
}

const many = (count: number): Socket[] => Array.from({ length: count }, () => new Socket());

describe('a storm brake', () => {
  it('leaves nobody unread without a storm', async () => {
    const sockets = many(10);
    const { brakes, storm } = setUp(sockets);
    storm(99);
    await turn();
    storm(100, 9);
    await turn();
    expect(brakes).toEqual([]);
    expect(sockets.every(({ isRead }) => isRead)).toBe(true);
  });

  it('leaves all sockets of all listeners unread in a storm, and tells of it', async () => {
    const sockets = many(10);
    const others = many(5);
    const { brake, brakes, storm } = setUp(sockets);
    brake.add(() => others);
    storm();
    expect([...sockets, ...others].some(({ isRead }) => isRead)).toBe(false);
    expect(brakes).toEqual([]);
    await turn();
    expect(brakes).toEqual([{ sockets: 15, clients: 100, first: true }]);
    expect(brake.unread).toBe(15);
  });

  it('lets alone what is not read anyway', async () => {
    const heldUp = new Socket(0, false, () => expect.unreachable());
    const { brake, brakes, storm } = setUp([heldUp, new Socket()]);
    storm();
    await turn();
    expect(brakes).toEqual([{ sockets: 1, clients: 100, first: true }]);
    for (let count = 0; count < 4; count++) await turn();
    expect(brake.unread).toBe(0);
  });

  it('with 0 milliseconds never brakes', () => {
    const sockets = many(10);
    const { brakes, storm } = setUp(sockets, { turnMsMax: 0 });
    storm(100_000, 60_000);
    expect(brakes).toEqual([]);
  });

  it('reads again a slice a turn, from a small one on', async () => {
    const sockets = many(SLICE_MIN * 3 + 1);
    const { brake, releases, storm } = setUp(sockets);
    storm();
    for (let count = 0; count < 3; count++) await turn();
    expect(brake.unread).toBe(sockets.length);
    await turn();
    expect(sockets.filter(({ isRead }) => isRead)).toHaveLength(SLICE_MIN);
    // The turn was short.
    await turn();
    expect(sockets.filter(({ isRead }) => isRead)).toHaveLength(SLICE_MIN * 3);
    expect([brake.unread, releases()]).toEqual([1, 0]);
    await turn();
    expect([brake.unread, releases()]).toEqual([0, 1]);
    await turn();
    expect(releases()).toBe(1);
  });

  it.each([
    [EVENTS_A_TURN, 1],
    [EVENTS_A_TURN + 1, 2],
  ])(
    'waits before that until the system has told all: %i sockets, %i turns',
    async (count, turns) => {
      const { brake, storm } = setUp(many(count));
      storm();
      for (let passed = 0; passed < 2 + turns; passed++) await turn();
      expect(brake.unread).toBe(count);
      await turn();
      expect(brake.unread).toBe(count - SLICE_MIN);
    },
  );

  it('reads first whom it has heard last', async () => {
    const order: string[] = [];
    const socket = (name: string, heardAt: number): Socket =>
      new Socket(heardAt, true, () => order.push(name));
    // The storm is told at 100,010.
    const { storm } = setUp([
      socket('silent', 20_000),
      socket('a while ago', 95_000),
      socket('just now', 100_000),
      socket('never yet', Infinity),
      socket('a moment ago', 99_900),
    ]);
    storm();
    for (let count = 0; count < 4; count++) await turn();
    expect(order).toEqual(['just now', 'never yet', 'a moment ago', 'a while ago', 'silent']);
  });

  it('bears that what it reads again leaves, and stops everything once more when others leave as well', async () => {
    const order: string[] = [];
    const living = new Socket(100_000, true, () => order.push('living'));
    const silent = Array.from(
      { length: SLICE_MIN * 7 },
      () => new Socket(0, true, () => order.push('silent')),
    );
    const { brake, brakes, releases, storm } = setUp([...silent, living]);
    storm();
    for (let count = 0; count < 4; count++) await turn();
    expect(order[0]).toBe('living');
    storm(99 + 2 * SLICE_MIN);
    expect(brakes).toHaveLength(1);
    await turn();
    expect(order).toHaveLength(2 * SLICE_MIN);
    order.length = 0;
    storm(100 + 2 * SLICE_MIN);
    const sockets = SLICE_MIN * 7 + 1;
    expect(brake.unread).toBe(sockets);
    await turn();
    expect(brakes).toEqual([
      { sockets, clients: 100, first: true },
      { sockets, clients: 100 + 2 * SLICE_MIN, first: false },
    ]);
    for (let count = 0; count < 10; count++) await turn();
    // Those that had waited before were read before those that had had their turn.
    expect(order).toHaveLength(sockets);
    expect(order[0]).toBe('living');
    expect(releases()).toBe(1);
  });

  it('stops once more in the turn of the first brake, and tells it as one', async () => {
    const sockets = many(10);
    const { brake, brakes, storm } = setUp(sockets);
    storm();
    const late = new Socket();
    brake.add(() => [late]);
    storm(100 + 2 * SLICE_MIN);
    expect(late.isRead).toBe(false);
    await turn();
    expect(brakes).toEqual([{ sockets: 11, clients: 100 + 2 * SLICE_MIN, first: true }]);
  });

  it('of who arrives reads first who has waited longest, whenever they were heard, and those of the first brake before all others', async () => {
    const order: number[] = [];
    const socket = (number: number): Socket =>
      new Socket(number % 2 === 0 ? 0 : 100_000, true, () => order.push(number));
    const { min } = ARRIVING_SLICES;
    const sockets = Array.from({ length: 4 * min }, (_, number) => socket(number));
    const { brake, brakes, storm } = setUp(sockets, {}, ARRIVING_SLICES);
    storm();
    for (let count = 0; count < 4; count++) await turn();
    expect(order).toEqual(Array.from({ length: min }, (_, number) => number));
    const late = socket(4 * min);
    brake.add(() => [late]);
    // As many as the slice may bring are expected, twice; one more is another storm.
    storm(100 + 2 * min - 1);
    expect([late.isRead, brakes.length]).toEqual([true, 1]);
    await turn();
    storm(100 + 4 * min);
    expect(late.isRead).toBe(false);
    for (let count = 0; count < 20; count++) await turn();
    expect(brake.unread).toBe(0);
    expect(order.indexOf(4 * min)).toBeGreaterThan(order.indexOf(4 * min - 1));
  });

  it('leaves alone what another brake holds, and the other way round', async () => {
    const sockets = many(10);
    const one = setUp(sockets);
    const other = setUp(sockets, {}, ARRIVING_SLICES);
    one.storm();
    other.storm();
    await turn();
    expect([one.brake.unread, other.brake.unread]).toEqual([10, 0]);
    expect(other.brakes).toEqual([]);
  });

  it('brakes again in a later storm', async () => {
    const { brakes, releases, storm } = setUp(many(3));
    for (let count = 1; count <= 3; count++) {
      storm();
      for (let passed = 0; passed < 4; passed++) await turn();
      expect([brakes.length, releases()]).toEqual([count, count]);
      await turn();
    }
  });
});

describe('a storm brake on what takes a while', () => {
  afterEach(() => void vi.useRealTimers());

  const set = (count: number, underWayMax: number) => {
    const sockets = many(count);
    return { sockets, ...setUp(sockets, {}, ARRIVING_SLICES, underWayMax) };
  };

  it('leaves nobody unread while as many are under way as may be, and everybody from the next one on', async () => {
    const { brake, brakes, sockets } = set(10, 5);
    times(5, () => brake.begun());
    await turn();
    expect([brake.unread, brakes]).toEqual([0, []]);
    brake.begun();
    expect([brake.unread, sockets.some(({ isRead }) => isRead)]).toEqual([10, false]);
    await turn();
    expect(brakes).toEqual([{ sockets: 10, clients: 0, first: true }]);
  });

  it('never does with 0 milliseconds', () => {
    const sockets = many(10);
    const { brake } = setUp(sockets, { turnMsMax: 0 }, ARRIVING_SLICES, 5);
    times(100, () => brake.begun());
    expect(brake.unread).toBe(0);
  });

  it('reads again as many as there is room for, when some are done', async () => {
    const { brake, releases } = set(10, 5);
    times(6, () => brake.begun());
    for (let count = 0; count < 10; count++) await turn();
    expect(brake.unread).toBe(10);
    brake.done();
    await turn();
    expect(brake.unread).toBe(10);
    times(3, () => brake.done());
    await turn();
    expect(brake.unread).toBe(7);
    // Those are not under way yet: what they say comes with the next turn.
    times(3, () => brake.begun());
    for (let count = 0; count < 10; count++) await turn();
    expect(brake.unread).toBe(7);
    times(5, () => brake.done());
    for (let count = 0; count < 3; count++) await turn();
    expect([brake.unread, releases()]).toEqual([0, 1]);
  });

  it('reads a few again all the same when nobody is done for long', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { brake } = set(3 * ARRIVING_SLICES.min, 5);
    times(6, () => brake.begun());
    for (let count = 0; count < 10; count++) await turn();
    vi.advanceTimersByTime(UNDER_WAY_MS_MAX - 1);
    expect(brake.unread).toBe(3 * ARRIVING_SLICES.min);
    vi.advanceTimersByTime(1);
    expect(brake.unread).toBe(2 * ARRIVING_SLICES.min);
    for (let count = 0; count < 10; count++) await turn();
    expect(brake.unread).toBe(2 * ARRIVING_SLICES.min);
  });
});
