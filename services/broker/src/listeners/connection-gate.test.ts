import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  CONNECT_RESTARTS_MAX,
  ConnectionGate,
  type ConnectionLimits,
  type Gated,
} from './connection-gate.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const limits: ConnectionLimits = {
  connectionsMax: 10,
  unauthenticatedPercentMax: 100,
  connectsPerSourcePerSecond: 0,
  connectsPerSourceBurst: 1,
  acceptsPerSecond: 0,
  connectTimeoutMs: 10_000,
};

interface TestConnection extends Gated {
  expired: number;
  unread: boolean;
}

function setUp(changed: Partial<ConnectionLimits> = {}) {
  const gate = new ConnectionGate({ limits: { ...limits, ...changed } });
  const one = (): TestConnection => ({
    expired: 0,
    unread: false,
    expire() {
      this.expired += 1;
    },
  });
  /** So many that entered. */
  const enter = (count: number): TestConnection[] =>
    Array.from({ length: count }, one).filter((connection) => gate.enter(connection) === undefined);
  return { gate, one, enter };
}

describe('a banned address', () => {
  it('is sent away before any rate is asked, and takes nobody a permit', () => {
    const gate = new ConnectionGate({
      limits: { ...limits, acceptsPerSecond: 1 },
      isBanned: (address) => address === '192.0.2.66',
    });
    expect(gate.admit('192.0.2.66', 'tcp:default')).toBe('banned');
    expect(gate.admit('192.0.2.1', 'tcp:default')).toBeUndefined();
    expect(gate.admit('192.0.2.1', 'tcp:default')).toBe('accept_rate');
  });
});

describe('the rate of a listener', () => {
  it('ends at its limit, and is of that listener only', () => {
    const { gate } = setUp({ acceptsPerSecondOf: new Map([['ws:default', 2]]) });
    expect(gate.admit('192.0.2.1', 'ws:default')).toBeUndefined();
    expect(gate.admit('192.0.2.2', 'ws:default')).toBeUndefined();
    expect(gate.admit('192.0.2.3', 'ws:default')).toBe('listener_rate');
    expect(gate.admit('192.0.2.3', 'tcp:default')).toBeUndefined();
    vi.advanceTimersByTime(500);
    expect(gate.admit('192.0.2.3', 'ws:default')).toBeUndefined();
  });
});

describe('the number of connections', () => {
  it('ends at its limit, and a place that becomes free is taken', () => {
    const { gate, one, enter } = setUp();
    const [first] = enter(10);
    expect(gate.enter(one())).toBe('connections_max');
    if (first !== undefined) gate.leave(first);
    expect(gate.enter(one())).toBeUndefined();
    expect(gate.enter(one())).toBe('connections_max');
    expect(gate.connections).toBe(10);
  });

  it.each([
    [20, 10, 2],
    [25, 10, 2],
    [9, 10, 1],
    [1, 10, 1],
    [100, 10, 10],
    [20, 20_000, 4000],
  ])('without a CONNECT ends at %i %% of %i', (percent, connectionsMax, expected) => {
    const { gate, one, enter } = setUp({ unauthenticatedPercentMax: percent, connectionsMax });
    expect(enter(expected)).toHaveLength(expected);
    const reason = expected === connectionsMax ? 'connections_max' : 'unauthenticated_max';
    expect(gate.enter(one())).toBe(reason);
    expect(gate.unauthenticated).toBe(expected);
  });

  it('an accepted CONNECT makes room for one without, and so does an end', () => {
    const { gate, one, enter } = setUp({ unauthenticatedPercentMax: 20 });
    const [first, second] = enter(2);
    if (first === undefined || second === undefined) throw new Error('refused');
    gate.authenticated(first);
    gate.authenticated(first);
    expect(gate.unauthenticated).toBe(1);
    expect(gate.enter(one())).toBeUndefined();
    expect(gate.enter(one())).toBe('unauthenticated_max');
    gate.leave(second);
    expect(gate.enter(one())).toBeUndefined();
    gate.leave(first);
    expect(gate.unauthenticated).toBe(2);
    expect(gate.connections).toBe(2);
  });

  it('who leaves without a CONNECT is not counted below nothing', () => {
    const { gate, enter } = setUp();
    for (const connection of enter(5)) gate.leave(connection);
    expect([gate.connections, gate.unauthenticated]).toEqual([0, 0]);
  });
});

describe('the time until the CONNECT', () => {
  it('ends a connection when it is over, and not a millisecond before, and once', () => {
    const { gate, enter } = setUp();
    const [connection] = enter(1);
    vi.advanceTimersByTime(9999);
    expect(connection?.expired).toBe(0);
    vi.advanceTimersByTime(1);
    expect(connection?.expired).toBe(1);
    expect(gate.unauthenticated).toBe(0);
    expect(gate.connections).toBe(1); // Until its socket says that it is closed.
    vi.advanceTimersByTime(60_000);
    expect(connection?.expired).toBe(1);
  });

  it('is that of each connection, by one timer for all', () => {
    const { enter } = setUp({ connectionsMax: 2000 });
    const all: TestConnection[] = [];
    for (let step = 0; step < 1000; step++) {
      all.push(...enter(2));
      expect(vi.getTimerCount()).toBe(1);
      vi.advanceTimersByTime(1);
    }
    vi.advanceTimersByTime(8999);
    expect(all.filter(({ expired }) => expired > 0)).toHaveLength(0);
    vi.advanceTimersByTime(1);
    expect(all.filter(({ expired }) => expired > 0)).toHaveLength(2);
    vi.advanceTimersByTime(499);
    expect(all.slice(0, 1000).every(({ expired }) => expired === 1)).toBe(true);
    expect(all.slice(1000).every(({ expired }) => expired === 0)).toBe(true);
    vi.advanceTimersByTime(500);
    expect(all.every(({ expired }) => expired === 1)).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('does not end who is authenticated, and starts anew for who comes after', () => {
    const { gate, enter } = setUp();
    const [first] = enter(1);
    if (first !== undefined) gate.authenticated(first);
    vi.advanceTimersByTime(60_000);
    const [second] = enter(1);
    vi.advanceTimersByTime(9999);
    expect([first?.expired, second?.expired]).toEqual([0, 0]);
    vi.advanceTimersByTime(1);
    expect([first?.expired, second?.expired]).toEqual([0, 1]);
  });

  it('does not end for who is not read by the node, and begins anew when it is', () => {
    const { gate, enter } = setUp();
    const [held, other] = enter(2);
    if (held === undefined || other === undefined) throw new Error('refused');
    held.unread = true;
    vi.advanceTimersByTime(15_000);
    expect([held.expired, other.expired]).toEqual([0, 1]);
    held.unread = false;
    gate.restart(held);
    vi.advanceTimersByTime(9999);
    expect(held.expired).toBe(0);
    vi.advanceTimersByTime(1);
    expect(held.expired).toBe(1);
  });

  it('begins anew a few times at most, whoever makes one storm after the other', () => {
    const { gate, enter } = setUp();
    const [connection] = enter(1);
    if (connection === undefined) throw new Error('refused');
    for (let restart = 0; restart < CONNECT_RESTARTS_MAX; restart++) {
      vi.advanceTimersByTime(9999);
      expect(gate.restart(connection)).toBe(true);
    }
    vi.advanceTimersByTime(9999);
    expect([gate.restart(connection), connection.expired]).toEqual([false, 0]);
    connection.unread = true;
    vi.advanceTimersByTime(1);
    expect(connection.expired).toBe(1);
  });

  it('begins anew for nobody who has been let in', () => {
    const { gate, enter } = setUp();
    const [connection] = enter(1);
    if (connection === undefined) throw new Error('refused');
    gate.authenticated(connection);
    gate.restart(connection);
    expect(gate.unauthenticated).toBe(0);
    vi.advanceTimersByTime(60_000);
    expect(connection.expired).toBe(0);
  });

  it('an end that comes late after the deadline counts once', () => {
    const { gate, enter } = setUp();
    const [connection] = enter(1);
    vi.advanceTimersByTime(10_000);
    if (connection === undefined) throw new Error('refused');
    gate.authenticated(connection);
    gate.leave(connection);
    expect([gate.connections, gate.unauthenticated]).toEqual([0, 0]);
  });
});

describe('the rate of connections', () => {
  const source = { connectsPerSourcePerSecond: 20, connectsPerSourceBurst: 100 };
  const admitted = (gate: ConnectionGate, count: number, address: string): number =>
    Array.from({ length: count }, () => gate.admit(address)).filter((one) => one === undefined)
      .length;

  it('of one source is its burst and then its rate; of another it is its own', () => {
    const { gate } = setUp(source);
    expect(admitted(gate, 101, '192.0.2.7')).toBe(100);
    expect(gate.admit('192.0.2.7')).toBe('source_rate');
    expect(admitted(gate, 101, '192.0.2.8')).toBe(100);
    vi.advanceTimersByTime(1000);
    expect(admitted(gate, 21, '192.0.2.7')).toBe(20);
  });

  it('of IPv6 is that of the /64', () => {
    const { gate } = setUp(source);
    expect(admitted(gate, 60, '2001:db8:1:2::1')).toBe(60);
    expect(admitted(gate, 60, '2001:db8:1:2:ffff::2')).toBe(40);
    expect(admitted(gate, 60, '2001:db8:1:3::1')).toBe(60);
  });

  it('of the node holds for all sources together', () => {
    const { gate } = setUp({ acceptsPerSecond: 1000 });
    expect(admitted(gate, 600, '192.0.2.7')).toBe(600);
    expect(admitted(gate, 600, '192.0.2.8')).toBe(400);
    expect(gate.admit('192.0.2.9')).toBe('accept_rate');
    vi.advanceTimersByTime(1);
    expect(admitted(gate, 2, '192.0.2.9')).toBe(1);
  });

  it('of the node is not used up by a source that has used up its own', () => {
    const { gate } = setUp({ ...source, acceptsPerSecond: 200 });
    expect(admitted(gate, 10_000, '192.0.2.7')).toBe(100);
    expect(admitted(gate, 100, '192.0.2.8')).toBe(100);
  });

  it('is none when it is 0', () => {
    const { gate } = setUp();
    expect(admitted(gate, 100_000, '192.0.2.7')).toBe(100_000);
  });
});

describe('refusals', () => {
  it('are counted by reason, and told', () => {
    const told: unknown[] = [];
    const gate = new ConnectionGate({ limits, onRefused: (refusal) => told.push(refusal) });
    const refusal = { reason: 'tls_handshake', listener: 'ssl:default', detail: 'X' } as const;
    gate.refuse(refusal);
    gate.refuse(refusal);
    gate.refuse({ reason: 'source_rate', listener: 'tcp:default' });
    expect([...gate.refused]).toEqual([
      ['tls_handshake', 2],
      ['source_rate', 1],
    ]);
    expect(told).toHaveLength(3);
    expect(told[0]).toEqual(refusal);
  });
});
