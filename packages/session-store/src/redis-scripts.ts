import type { Redis } from 'ioredis';
import { TAKEN_WILL_MS } from './session-store.ts';

/**
 * What the store does in Redis, one atomic script for each step. Keys, of which each begins with
 * the namespace:
 *
 * | key | type | holds |
 * |---|---|---|
 * | `session:{c}` | hash | record, will and deadline of the session of client `c` |
 * | `subs:{c}` | hash | topic filter → options |
 * | `log:{c}` | stream | queued messages by position: `k` name, `z` bytes, `d` delivery, `b` body or `r` number of a shared body |
 * | `queue:{c}` | hash | `n` last position, `c` messages, `b` bytes, `x` shared bodies, `k<name>` positions, `s<position>` state, `i<packet id>` position |
 * | `in:{c}` | hash | QoS 2 packet ids that came from the client → packet or nothing |
 * | `connwill:{c}` | hash | the will of a connection, as the kernel keeps it |
 * | `body:<n>` | hash | a large body of several queues, and how many refer to it |
 * | `will:<epoch>` | hash | a will that waits, or is due |
 * | `held:{c}` | string | epoch of the will of client `c` that is held; expires behind it |
 * | `wills`, `due` | zset | epochs of wills, client ids of closed sessions; by time |
 * | `node:<node>` | set | client ids whose sessions the node has open |
 * | `subscribers`, `connwills` | set | client ids that have subscriptions, wills of connections |
 * | `changes` | stream | whose subscriptions have changed (`c`), and on which node (`n`); the last ones |
 * | `retained`, `retained:names`, `retained:due` | hash, zsets | retained messages, their topics in byte order, and by expiry |
 * | `used:{k}` | hash | ids of secrets of credential `k` → when they were last used |
 * | `places:{k}:<node>` | hash | client ids that are connected to the node with credential `k` → `<since> <token>` of their connections |
 * | `placed:<node>` | set | credentials that have places on the node |
 * | `claim:<token>` | list | the answer of a claim, for its repetition |
 *
 * A script may run twice, when the connection breaks before its answer. So a repetition must find the work done.
 */
const BASE = `
local call = redis.call
local NS = '@namespace@'
local function of(kind, client) return NS .. kind .. ':{' .. client .. '}' end
`;

/** Entries of a queue. Positions are strings. */
const QUEUE = `
local function entryAt(client, position)
  local found = call('XRANGE', of('log', client), position .. '-0', position .. '-0')[1]
  if not found then return nil end
  local entry = {}
  for at = 1, #found[2], 2 do entry[found[2][at]] = found[2][at + 1] end
  return entry
end

local function bodyOf(entry)
  return entry.b or call('HGET', NS .. 'body:' .. entry.r, 'b') or ''
end

local function releaseBody(number)
  local key = NS .. 'body:' .. number
  if call('HINCRBY', key, 'n', -1) < 1 then call('DEL', key) end
end

local function remove(client, position, entry)
  local queue, log = of('queue', client), of('log', client)
  local name = 'k' .. entry.k
  local f = call('HMGET', queue, name, 's' .. position, 'c', 'b')
  local gone = {'s' .. position}
  local number = f[2] and 'i' .. string.match(f[2], '%d*$')
  if number and call('HGET', queue, number) == position then gone[#gone + 1] = number end
  if f[1] == position then
    gone[#gone + 1] = name
  else -- Deliveries of the same message stay.
    local left = {}
    for item in string.gmatch(f[1] or '', '[^\\n]+') do
      if string.match(item, '^%d+') ~= position then left[#left + 1] = item end
    end
    if #left == 0 then gone[#gone + 1] = name
    else call('HSET', queue, name, table.concat(left, '\\n')) end
  end
  call('HDEL', queue, unpack(gone))
  local messages = tonumber(f[3] or 0) - 1
  call('HSET', queue, 'c', messages, 'b', tonumber(f[4] or 0) - tonumber(entry.z))
  if messages < 1 then call('DEL', log) else call('XDEL', log, position .. '-0') end
  if entry.r then
    call('HINCRBY', queue, 'x', -1)
    releaseBody(entry.r)
  end
end

-- The delivery of a message to choose, and its state: the one that is sent with this id, else one that was not sent, else the first.
local function deliveryOf(client, name, number)
  local queue = of('queue', client)
  local items = call('HGET', queue, 'k' .. name)
  if not items then return nil end
  local first, firstState, waiting
  for item in string.gmatch(items, '[^\\n]+') do
    local position = string.match(item, '^%d+')
    local state = call('HGET', queue, 's' .. position)
    if state and number and (state == number or state == 'r' .. number) then
      return position, state
    end
    if not state then waiting = waiting or position end
    if not first then first, firstState = position, state end
  end
  if waiting then return waiting, false end
  return first, firstState
end
`;

/** For how long behind its end a held will is known by its client: as far as clocks of nodes and of Redis may be apart. */
const HELD_KEY_MARGIN_SECONDS = 60;

/** Ends of sessions. Times are milliseconds. */
const SESSION = `
local function forget(client)
  local queue, log = of('queue', client), of('log', client)
  if tonumber(call('HGET', queue, 'x') or 0) > 0 then
    for _, found in ipairs(call('XRANGE', log, '-', '+')) do
      for at = 1, #found[2], 2 do
        if found[2][at] == 'r' then releaseBody(found[2][at + 1]) end
      end
    end
  end
  call('UNLINK', queue, log, of('in', client))
  call('SREM', NS .. 'subscribers', client)
  return call('UNLINK', of('subs', client))
end

-- A waiting will goes with a session that goes on, and is due with one that ends.
local function settleWill(epoch, now, goesOn)
  local dueAt = call('ZSCORE', NS .. 'wills', epoch)
  if not dueAt or tonumber(dueAt) <= now then return end
  if call('HGET', NS .. 'will:' .. epoch, 'why') then return end
  if goesOn then
    call('ZREM', NS .. 'wills', epoch)
    call('DEL', NS .. 'will:' .. epoch)
  else
    call('ZADD', NS .. 'wills', now, epoch)
  end
end

-- A held will goes with the return of whoever left it.
local function takeBackHeld(client, owner, now)
  local epoch = call('GET', of('held', client))
  if not epoch then return end
  local key, dueAt = NS .. 'will:' .. epoch, call('ZSCORE', NS .. 'wills', epoch)
  if not dueAt or tonumber(dueAt) <= now or call('HGET', key, 'owner') ~= owner then return end
  call('ZREM', NS .. 'wills', epoch)
  call('DEL', key, of('held', client))
end

-- Whether the session had subscriptions, and has them no longer.
local function close(client, now, expiry, keepWill, hold)
  local key = of('session', client)
  local f = call('HMGET', key, 'epoch', 'node', 'will', 'delay', 'owner', 'principal')
  local epoch, will = f[1], f[3]
  call('SREM', NS .. 'node:' .. f[2], client)
  if will and keepWill then
    local delay = math.min(tonumber(f[4] or 0), expiry)
    call('ZADD', NS .. 'wills', now + math.max(delay, hold) * 1000, epoch)
    call('HSET', NS .. 'will:' .. epoch, 'client', client, 'owner', f[5], 'node', f[2],
      'principal', f[6], 'expiry', expiry, 'delay', f[4] or '', 'will', will)
    if hold > delay then
      call('HSET', NS .. 'will:' .. epoch, 'why', 'held')
      call('SET', of('held', client), epoch, 'EX', hold + ${HELD_KEY_MARGIN_SECONDS})
    end
  end
  if expiry == 0 then
    call('DEL', key)
    return forget(client)
  end
  call('HDEL', key, 'will')
  if expiry >= 4294967295 then
    call('HSET', key, 'expiry', expiry, 'ends', 'inf')
  else
    call('HSET', key, 'expiry', expiry, 'ends', now + expiry * 1000)
    call('ZADD', NS .. 'due', now + expiry * 1000, client)
  end
  return 0
end
`;

/** Limits, message and the note of an incoming id; then client, delivery and share filter of each queue. Answers who had no room. */
const ENQUEUE = `${BASE}
local messagesMax, bytesMax, bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local name, body, incoming, ttl = ARGV[4], ARGV[5], ARGV[7], ARGV[8]
local share = #body > 1024 and #ARGV > 11
local shared
local refused = {}

-- State of a client that has no session: nobody would ever end it.
local function expire(client, ...)
  if call('EXISTS', of('session', client)) == 1 then return end
  for _, kind in ipairs({...}) do call('EXPIRE', of(kind, client), ttl) end
end

local function has(items, mark)
  for item in string.gmatch(items or '', '[^\\n]+') do
    if string.match(item, '%D.*$') == mark then return true end
  end
  return false
end

local function append(client, position, delivery)
  local log = of('log', client)
  if not share or call('EXISTS', of('session', client)) == 0 then
    call('XADD', log, position .. '-0', 'k', name, 'z', bytes, 'd', delivery, 'b', body)
    return
  end
  if not shared then
    shared = call('INCR', NS .. 'bodies')
    call('HSET', NS .. 'body:' .. shared, 'b', body)
  end
  call('HINCRBY', NS .. 'body:' .. shared, 'n', 1)
  call('HINCRBY', of('queue', client), 'x', 1)
  call('XADD', log, position .. '-0', 'k', name, 'z', bytes, 'd', delivery, 'r', shared)
end

if incoming ~= '' then
  local key = of('in', ARGV[6])
  if call('HSETNX', key, incoming, '') == 1 and call('HLEN', key) == 1 then expire(ARGV[6], 'in') end
end
for at = 9, #ARGV, 3 do
  local client, filter = ARGV[at], ARGV[at + 2]
  local queue = of('queue', client)
  local f = call('HMGET', queue, 'c', 'b', 'k' .. name)
  local messages, held = tonumber(f[1] or 0), tonumber(f[2] or 0)
  local mark = filter ~= '' and '=' .. redis.sha1hex(filter) or nil
  if not (f[3] and has(f[3], mark)) then
    if messages >= messagesMax or held + bytes > bytesMax then
      refused[#refused + 1] = (at - 9) / 3
    else
      local position = string.format('%.0f', call('HINCRBY', queue, 'n', 1))
      append(client, position, ARGV[at + 1])
      call('HSET', queue, 'c', messages + 1, 'b', held + bytes, 'k' .. name,
        (f[3] and f[3] .. '\\n' or '') .. position .. (mark or ''))
      if messages == 0 then expire(client, 'queue', 'log') end
    end
  end
end
return refused
`;

/** Client, name of the message, packet id. Answers whether there is such a message. */
const SEND = `${BASE}${QUEUE}
local client, number = ARGV[1], ARGV[3]
local position, state = deliveryOf(client, ARGV[2], number)
if not position then return 0 end
local queue = of('queue', client)
if state == number or state == 'r' .. number then return 1 end
local released = ''
if state then
  released = string.match(state, '^r?')
  local before = 'i' .. string.match(state, '%d*$')
  if call('HGET', queue, before) == position then call('HDEL', queue, before) end
end
call('HSET', queue, 's' .. position, released .. number, 'i' .. number, position)
return 1
`;

/** Client, packet id. */
const RELEASE = `${BASE}
local queue = of('queue', ARGV[1])
local position = call('HGET', queue, 'i' .. ARGV[2])
if not position then return 0 end
call('HSET', queue, 's' .. position, 'r' .. ARGV[2])
return 1
`;

/** Client, packet id. Answers position, state, delivery and body of what was removed. */
const ACKNOWLEDGE = `${BASE}${QUEUE}
local client = ARGV[1]
local queue = of('queue', client)
local position = call('HGET', queue, 'i' .. ARGV[2])
if not position then return false end
local entry = entryAt(client, position)
if not entry then return redis.error_reply('a queue entry is lost') end
local answer = {position, call('HGET', queue, 's' .. position), entry.d, bodyOf(entry)}
remove(client, position, entry)
return answer
`;

/** Client, name of the message. */
const REMOVE = `${BASE}${QUEUE}
local position = deliveryOf(ARGV[1], ARGV[2])
if not position then return 0 end
local entry = entryAt(ARGV[1], position)
if not entry then return redis.error_reply('a queue entry is lost') end
remove(ARGV[1], position, entry)
return 1
`;

/** Client, first position, limit. Answers position, state, delivery and body of each. */
const READ = `${BASE}${QUEUE}
local client = ARGV[1]
local found = call('XRANGE', of('log', client), ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])
if #found == 0 then return {} end
local states = {}
for index, entry in ipairs(found) do states[index] = 's' .. string.match(entry[1], '^%d+') end
states = call('HMGET', of('queue', client), unpack(states))
local page = {}
for index, each in ipairs(found) do
  local entry = {}
  for at = 1, #each[2], 2 do entry[each[2][at]] = each[2][at + 1] end
  page[#page + 1] = string.match(each[1], '^%d+')
  page[#page + 1] = states[index] or ''
  page[#page + 1] = entry.d
  page[#page + 1] = bodyOf(entry)
end
return page
`;

/** Client, owner, principal, expiry, node, will, will delay, clean start, now, token. Answers present, epoch, previous node, subscriptions gone. */
const OPEN = `${BASE}${QUEUE}${SESSION}
local client, owner, principal, expiry, node = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local will, delay, clean, now, token = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), ARGV[10]
local key = of('session', client)
local f = call('HMGET', key, 'epoch', 'owner', 'node', 'ends', 'token', 'present', 'previous',
  'will', 'delay', 'expiry', 'principal')
if f[5] == token then return {tonumber(f[6]), f[1], f[7], 1} end
local known, ends = f[1], f[4]
local goesOn = known and clean == '0' and f[2] == owner
  and (not ends or ends == 'inf' or tonumber(ends) > now)
local epoch = string.format('%.0f', math.max(tonumber(call('GET', NS .. 'epoch') or 0) + 1, now))
call('SET', NS .. 'epoch', epoch)
local previous = known and not ends and f[3] or false
local gone = 0
takeBackHeld(client, owner, now)
if known then
  settleWill(known, now, goesOn)
  if f[8] and not ends and f[3] ~= node
    and not (goesOn and math.min(tonumber(f[9] or 0), tonumber(f[10])) > 0) then
    call('ZADD', NS .. 'wills', now + ${TAKEN_WILL_MS}, known)
    call('HSET', NS .. 'will:' .. known, 'client', client, 'owner', f[2], 'node', f[3],
      'principal', f[11], 'expiry', f[10], 'delay', f[9] or '', 'will', f[8], 'why', 'taken')
  end
  if not ends then call('SREM', NS .. 'node:' .. f[3], client) end
  call('ZREM', NS .. 'due', client)
  call('DEL', key)
end
if not goesOn then gone = forget(client) end
if goesOn or expiry ~= '0' or will ~= '' then
  call('HSET', key, 'epoch', epoch, 'owner', owner, 'principal', principal, 'expiry', expiry,
    'node', node, 'token', token, 'present', goesOn and 1 or 0)
  if previous then call('HSET', key, 'previous', previous) end
  if will ~= '' then call('HSET', key, 'will', will) end
  if delay ~= '' then call('HSET', key, 'delay', delay) end
  call('SADD', NS .. 'node:' .. node, client)
end
return {goesOn and 1 or 0, epoch, previous, gone}
`;

/** Client, epoch, now, expiry, keep the will, hold it. Answers whether subscriptions are gone. */
const CLOSE = `${BASE}${QUEUE}${SESSION}
local f = call('HMGET', of('session', ARGV[1]), 'epoch', 'ends')
if f[1] ~= ARGV[2] then
  local will = NS .. 'will:' .. ARGV[2]
  if call('HGET', will, 'why') == 'taken' then
    call('ZREM', NS .. 'wills', ARGV[2])
    call('DEL', will)
  end
  return 0
end
if f[2] then return 0 end
return close(ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6]))
`;

/** Client, token of its opening, now. Answers whether subscriptions are gone. */
const ABANDON = `${BASE}${QUEUE}${SESSION}
local f = call('HMGET', of('session', ARGV[1]), 'token', 'ends', 'expiry')
if f[1] ~= ARGV[2] or f[2] then return 0 end
return close(ARGV[1], tonumber(ARGV[3]), tonumber(f[3]), false, 0)
`;

/** Node, now, limit. Answers whether there may be more, and the clients whose subscriptions are gone. */
const RECOVER = `${BASE}${QUEUE}${SESSION}
local clients = call('SRANDMEMBER', NS .. 'node:' .. ARGV[1], ARGV[3])
local answer = {#clients}
for _, client in ipairs(clients) do
  local f = call('HMGET', of('session', client), 'node', 'ends', 'expiry')
  if f[1] == ARGV[1] and not f[2] then
    if close(client, tonumber(ARGV[2]), tonumber(f[3]), true, 0) > 0 then answer[#answer + 1] = client end
  else
    call('SREM', NS .. 'node:' .. ARGV[1], client)
  end
end
return answer
`;

/** Now, limit, lease, token. Answers the number of retained messages, then nine fields of each item. */
const CLAIM = `${BASE}
local now, limit, claim = ARGV[1], tonumber(ARGV[2]), NS .. 'claim:' .. ARGV[4]
local answer = call('LRANGE', claim, 0, -1)
if #answer > 0 then return answer end
local expired = call('ZRANGEBYSCORE', NS .. 'retained:due', '-inf', now, 'LIMIT', 0, 1000)
if #expired > 0 then
  call('HDEL', NS .. 'retained', unpack(expired))
  call('ZREM', NS .. 'retained:names', unpack(expired))
  call('ZREM', NS .. 'retained:due', unpack(expired))
end
answer[1] = call('ZCARD', NS .. 'retained:names')
local function push(kind, epoch, client, key)
  local f = call('HMGET', key, 'owner', 'node', 'principal', 'expiry', 'delay', 'will')
  for _, value in ipairs({kind, epoch, client}) do answer[#answer + 1] = value end
  for index = 1, 6 do answer[#answer + 1] = f[index] or '' end
end
for _, epoch in ipairs(call('ZRANGEBYSCORE', NS .. 'wills', '-inf', now, 'LIMIT', 0, limit)) do
  local key = NS .. 'will:' .. epoch
  local client = call('HGET', key, 'client')
  if client then push('will', epoch, client, key) end
  call('ZREM', NS .. 'wills', epoch)
  call('DEL', key)
  limit = limit - 1
end
for _, client in ipairs(call('ZRANGEBYSCORE', NS .. 'due', '-inf', now, 'LIMIT', 0, limit)) do
  local key = of('session', client)
  local f = call('HMGET', key, 'epoch', 'ends')
  if f[2] then
    call('ZADD', NS .. 'due', now + ARGV[3], client)
    push('expired', f[1], client, key)
  else
    call('ZREM', NS .. 'due', client)
  end
end
if #answer > 1 then
  call('RPUSH', claim, unpack(answer))
  call('EXPIRE', claim, 60)
end
return answer
`;

/** Client, epoch or nothing. Answers whether subscriptions are gone. */
const DROP = `${BASE}${QUEUE}${SESSION}
local key = of('session', ARGV[1])
local f = call('HMGET', key, 'epoch', 'node', 'ends')
if ARGV[2] ~= '' and f[1] ~= ARGV[2] then return 0 end
if f[1] then
  settleWill(f[1], 0, false)
  if not f[3] then call('SREM', NS .. 'node:' .. f[2], ARGV[1]) end
  call('ZREM', NS .. 'due', ARGV[1])
  call('DEL', key)
end
return forget(ARGV[1])
`;

/** Most changes of subscriptions that are kept; a node that is further behind reads everything. */
export const CHANGES_KEPT = 10_000;

const CHANGES = `
local function noteChange(client, node)
  call('XADD', NS .. 'changes', 'MAXLEN', '~', ${CHANGES_KEPT}, '*', 'c', client, 'n', node)
end
`;

/** Client, node; then filter and options of each subscription. */
const SUBSCRIBE = `${BASE}${CHANGES}
call('HSET', of('subs', ARGV[1]), unpack(ARGV, 3))
call('SADD', NS .. 'subscribers', ARGV[1])
noteChange(ARGV[1], ARGV[2])
return 1
`;

/** Client, node; then filters, or nothing for all of them. */
const UNSUBSCRIBE = `${BASE}${CHANGES}
local key = of('subs', ARGV[1])
if #ARGV > 2 then call('HDEL', key, unpack(ARGV, 3)) else call('UNLINK', key) end
if call('EXISTS', key) == 0 then call('SREM', NS .. 'subscribers', ARGV[1]) end
noteChange(ARGV[1], ARGV[2])
return 1
`;

/** Topic, body or nothing, expiry or nothing. Answers the number of retained messages. */
const RETAIN = `${BASE}
local topic, body, expiry = ARGV[1], ARGV[2], ARGV[3]
if body == '' then
  call('HDEL', NS .. 'retained', topic)
  call('ZREM', NS .. 'retained:names', topic)
else
  call('HSET', NS .. 'retained', topic, body)
  call('ZADD', NS .. 'retained:names', 0, topic)
end
if expiry ~= '' and body ~= '' then call('ZADD', NS .. 'retained:due', expiry, topic)
else call('ZREM', NS .. 'retained:due', topic) end
return call('ZCARD', NS .. 'retained:names')
`;

/**
 * Filter, where to go on, most messages, most bytes, most steps. Answers whether there may be more, where to go on, and bodies.
 *
 * The topics stand in byte order, and a topic that does not match says where the next one that may begins. So a step costs
 * O(log n), and there are about as many as topics that match, or that match up to a wildcard.
 */
const FIND_RETAINED = `${BASE}
local filter = {}
for level in string.gmatch(ARGV[1] .. '/', '([^/]*)/') do filter[#filter + 1] = level end
local leadingWildcard = filter[1] == '+' or filter[1] == '#'

-- By bytes: the operators of Lua compare as the server's locale does.
local function before(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Where a topic that matches may follow, when the level at \`at\` should be \`wanted\`; nil when nowhere.
local function seek(topic, at, wanted)
  local parent, rest = string.sub(topic, 1, at - 1), string.sub(topic, at)
  if before(rest, wanted) then return parent .. wanted end
  if before(rest, wanted .. '/') then return parent .. wanted .. '/' end
  if parent == '' then return nil end
  return string.sub(parent, 1, -2) .. '0'
end

-- Whether the topic matches, and where to go on.
local function visit(topic)
  if leadingWildcard and string.sub(topic, 1, 1) == '$' then return false, '%' end
  local at = 1
  for _, wanted in ipairs(filter) do
    if wanted == '#' then return true, topic .. '\\0' end
    if at > #topic + 1 then return false, topic .. '\\0' end
    local slash = string.find(topic, '/', at, true) or #topic + 1
    if wanted ~= '+' and string.sub(topic, at, slash - 1) ~= wanted then
      return false, seek(topic, at, wanted)
    end
    at = slash + 1
  end
  if at <= #topic + 1 then return false, string.sub(topic, 1, at - 2) .. '0' end
  return true, topic .. '\\0'
end

local cursor, bytes = ARGV[2], tonumber(ARGV[4])
local answer = {1, ''}
for _ = 1, tonumber(ARGV[5]) do
  if #answer - 2 >= tonumber(ARGV[3]) or bytes <= 0 then break end
  local topic = call('ZRANGEBYLEX', NS .. 'retained:names', '[' .. cursor, '+', 'LIMIT', 0, 1)[1]
  local found = false
  if topic then found, cursor = visit(topic) end
  if not topic then cursor = nil end
  local body = found and call('HGET', NS .. 'retained', topic)
  if body then
    answer[#answer + 1] = body
    bytes = bytes - #body
  end
  if not cursor then
    answer[1] = 0
    break
  end
end
answer[2] = cursor or ''
return answer
`;

/** Client, node, will. */
const PUT_WILL = `${BASE}
call('HSET', of('connwill', ARGV[1]), 'node', ARGV[2], 'will', ARGV[3])
call('SADD', NS .. 'connwills', ARGV[1])
return 1
`;

/** Client, and the node whose will it must be, or nothing. Answers the will. */
const DELETE_WILL = `${BASE}
local key = of('connwill', ARGV[1])
local f = call('HMGET', key, 'node', 'will')
if not f[2] or (ARGV[2] ~= '' and ARGV[2] ~= f[1]) then return false end
call('DEL', key)
call('SREM', NS .. 'connwills', ARGV[1])
return f[2]
`;

/** Seconds to keep, most secrets of a credential; then credential, secret and time of each use. */
const NOTE_USES = `${BASE}
local most = tonumber(ARGV[2])
for at = 3, #ARGV, 3 do
  local key = of('used', ARGV[at])
  local known = tonumber(call('HGET', key, ARGV[at + 1]) or 0)
  if known < tonumber(ARGV[at + 2]) then
    call('HSET', key, ARGV[at + 1], ARGV[at + 2])
    call('EXPIRE', key, ARGV[1])
    if call('HLEN', key) > most then
      local all, secret, oldest = call('HGETALL', key), nil, nil
      for index = 1, #all, 2 do
        local when = tonumber(all[index + 1])
        if not oldest or when < oldest then secret, oldest = all[index], when end
      end
      call('HDEL', key, secret)
    end
  end
end
return 1
`;

const PLACES = `
local function placesOf(owner, node) return of('places', owner) .. ':' .. node end
`;

/** Credential, client, node, what it holds, most; then the nodes that are alive. Answers whether there was a place. */
const TAKE_PLACE = `${BASE}${PLACES}
local owner, client, node = ARGV[1], ARGV[2], ARGV[3]
local others = 0
for at = 6, #ARGV do
  local key = placesOf(owner, ARGV[at])
  others = others + call('HLEN', key) - call('HEXISTS', key, client)
end
if others >= tonumber(ARGV[5]) then return 0 end
call('HSET', placesOf(owner, node), client, ARGV[4])
call('SADD', NS .. 'placed:' .. node, owner)
return 1
`;

/** Credential, client, node, what it holds. */
const LEAVE_PLACE = `${BASE}${PLACES}
local owner, client, node = ARGV[1], ARGV[2], ARGV[3]
local key = placesOf(owner, node)
if call('HGET', key, client) ~= ARGV[4] then return 0 end
call('HDEL', key, client)
if call('EXISTS', key) == 0 then call('SREM', NS .. 'placed:' .. node, owner) end
return 1
`;

/**
 * Credential, node, most, count; then that many pairs of client and what it holds, and the nodes that are alive. Answers which of the
 * pairs, from 1, have no place. A place that says no time is of a node of an older version, and counts as old.
 */
const LIMIT_PLACES = `${BASE}${PLACES}
local owner, node, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local nodes = 5 + 2 * tonumber(ARGV[4])
local mine = placesOf(owner, node)
local since = {}
local function meet(client, held)
  local began = tonumber(string.match(held, '^(%d+) ')) or 0
  if since[client] == nil or since[client] < began then since[client] = began end
end
for at = nodes, #ARGV do
  local held = call('HGETALL', placesOf(owner, ARGV[at]))
  for entry = 1, #held, 2 do meet(held[entry], held[entry + 1]) end
end
for at = 5, nodes - 1, 2 do
  if since[ARGV[at]] == nil then
    meet(ARGV[at], ARGV[at + 1])
    call('HSET', mine, ARGV[at], ARGV[at + 1])
  end
end
local order = {}
for client in pairs(since) do order[#order + 1] = client end
local beyond = {}
if #order > most then
  table.sort(order, function(one, other)
    if since[one] == since[other] then return one < other end
    return since[one] < since[other]
  end)
  for at = most + 1, #order do beyond[order[at]] = true end
end
local lost = {}
for at = 5, nodes - 1, 2 do
  local client = ARGV[at]
  if beyond[client] and call('HGET', mine, client) == ARGV[at + 1] then
    call('HDEL', mine, client)
    lost[#lost + 1] = (at - 3) / 2
  end
end
local change = call('EXISTS', mine) == 1 and 'SADD' or 'SREM'
call(change, NS .. 'placed:' .. node, owner)
return lost
`;

/** Node, revision. Answers pairs of node and revision. */
const TELL_PLACES = `${BASE}
call('HSET', NS .. 'placestold', ARGV[1], ARGV[2])
return call('HGETALL', NS .. 'placestold')
`;

/** Node, most of one call. Answers how many credentials it has looked at. */
const LEAVE_NODE = `${BASE}${PLACES}
call('HDEL', NS .. 'placestold', ARGV[1])
local placed = NS .. 'placed:' .. ARGV[1]
local owners = call('SRANDMEMBER', placed, ARGV[2])
for _, owner in ipairs(owners) do
  call('UNLINK', placesOf(owner, ARGV[1]))
  call('SREM', placed, owner)
end
return #owners
`;

const SCRIPTS = {
  spEnqueue: ENQUEUE,
  spSend: SEND,
  spRelease: RELEASE,
  spAcknowledge: ACKNOWLEDGE,
  spRemove: REMOVE,
  spRead: READ,
  spOpen: OPEN,
  spAbandon: ABANDON,
  spClose: CLOSE,
  spRecover: RECOVER,
  spClaim: CLAIM,
  spDrop: DROP,
  spSubscribe: SUBSCRIBE,
  spUnsubscribe: UNSUBSCRIBE,
  spRetain: RETAIN,
  spFindRetained: FIND_RETAINED,
  spPutWill: PUT_WILL,
  spDeleteWill: DELETE_WILL,
  spNoteUses: NOTE_USES,
  spTakePlace: TAKE_PLACE,
  spLeavePlace: LEAVE_PLACE,
  spLimitPlaces: LIMIT_PLACES,
  spTellPlaces: TELL_PLACES,
  spLeaveNode: LEAVE_NODE,
} as const;

type ScriptName = keyof typeof SCRIPTS;

/** Answers are strings; of the variants with `Buffer`, bytes. */
type Script<Answer> = (...args: readonly (string | number | Buffer)[]) => Promise<Answer>;

export type Answer = Buffer | number | null;

export type ScriptedRedis = Redis & {
  readonly [Name in `${ScriptName}Buffer`]: Script<Answer | Answer[]>;
};

/** What stands before the names of keys; part of the scripts, so without quotes. */
const NAMESPACE = /^[\w:.-]*$/;

/** Teaches the client the scripts. They go to Redis with their first use on a connection. */
export function defineScripts(redis: Redis, namespace: string): ScriptedRedis {
  if (!NAMESPACE.test(namespace)) throw new TypeError('a key prefix has letters, digits and :._-');
  for (const [name, lua] of Object.entries(SCRIPTS)) {
    redis.defineCommand(name, { numberOfKeys: 0, lua: lua.replace('@namespace@', namespace) });
  }
  return redis as ScriptedRedis; // Has them now.
}

/** Names of the keys that are used without scripts. */
export interface Keys {
  readonly subscriptions: (clientId: string) => string;
  readonly incoming: (clientId: string) => string;
  readonly queue: (clientId: string) => string;
  readonly connectionWill: (clientId: string) => string;
  readonly secretUses: (credentialId: string) => string;
  readonly session: (clientId: string) => string;
  readonly connectionWills: string;
  readonly subscribers: string;
  readonly changes: string;
  readonly retained: string;
  readonly retainedNames: string;
}

export function keysIn(namespace: string): Keys {
  const of = (kind: string) => (clientId: string) => `${namespace}${kind}:{${clientId}}`;
  return {
    subscriptions: of('subs'),
    incoming: of('in'),
    queue: of('queue'),
    connectionWill: of('connwill'),
    secretUses: of('used'),
    session: of('session'),
    connectionWills: `${namespace}connwills`,
    subscribers: `${namespace}subscribers`,
    changes: `${namespace}changes`,
    retained: `${namespace}retained`,
    retainedNames: `${namespace}retained:names`,
  };
}
