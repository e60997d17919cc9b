"""What must happen in Redis at once or not at all: Lua, run by the server between two commands of anybody else.

The keys (one Redis, not a Redis Cluster: scripts name keys that they read from others):

``kitchen:epoch``          made with the first replica's first beat: another one means that Redis came back empty
``kitchen:secret``         with which visitors' cookies are digested
``kitchen:replicas``       replica -> until when its lease runs, since when it has been alive, how its engine is
``kitchen:runs``           run -> its record, while it lives: whose it is, who cooks it (none: it waits)
``kitchen:order:ID``       what the engine is to be told; only until the log begins
``kitchen:NAME:lanes``     the line NAME: addresses that have somebody in it, next first
``kitchen:NAME:lane:ADDRESS``  of each the visitors, next first
``kitchen:NAME:of:ADDRESS:VISITOR``  and of each of those their runs, next first
``kitchen:log:ID``         a Stream: batches of log lines; an entry's id is the ``seq`` of its last event
``kitchen:shelf``          closed run -> what is kept beside its log
``kitchen:gone:ID``        a closed run was deleted: nobody is to bring it back
``kitchen:packed:ID``      its log, gzip
``kitchen:news``           a Stream of short words between replicas: an order waits, stop this, that was deleted
"""

from __future__ import annotations

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

_TELL = """
local function tell(word, id, more)
  redis.call('XADD', 'kitchen:news', 'MAXLEN', '~', '1000', '*', 'word', word, 'id', id, 'more', more or '')
end
"""

_LINE = """
local function keys(run)
  local line = 'kitchen:' .. (run.apart and 'takes' or 'line')
  return line .. ':lanes', line .. ':lane:' .. run.address, line .. ':of:' .. run.address .. ':' .. run.creator
end
local function enter(run, id)
  local lanes, lane, own = keys(run)
  if redis.call('RPUSH', own, id) == 1 and redis.call('RPUSH', lane, run.creator) == 1 then
    redis.call('RPUSH', lanes, run.address)
  end
end
local function leave(run, id)
  local lanes, lane, own = keys(run)
  if redis.call('LREM', own, 1, id) == 0 or redis.call('EXISTS', own) == 1 then return end
  redis.call('LREM', lane, 1, run.creator)
  if redis.call('EXISTS', lane) == 0 then redis.call('LREM', lanes, 1, run.address) end
end
local function return_to_front(run, id)
  local lanes, lane, own = keys(run)
  redis.call('LPUSH', own, id)
  redis.call('LREM', lane, 1, run.creator)
  redis.call('LPUSH', lane, run.creator)
  redis.call('LREM', lanes, 1, run.address)
  redis.call('LPUSH', lanes, run.address)
end
"""

PUSH = (
    _TELL
    + _LINE
    + """
-- id, record, order, seconds that it is kept, bounds (empty: none): of a visitor, of an address, waiting, takes
local id, run = ARGV[1], cjson.decode(ARGV[2])
if redis.call('HEXISTS', 'kitchen:shelf', id) == 1 then return 'known' end
if redis.call('EXISTS', 'kitchen:gone:' .. id) == 1 then return 'known' end
if redis.call('HEXISTS', 'kitchen:runs', id) == 1 then return 'known' end
if ARGV[5] ~= '' then
  local own, here, waiting, takes = 0, 0, 0, 0
  for _, text in ipairs(redis.call('HVALS', 'kitchen:runs')) do
    local other = cjson.decode(text)
    if other.apart then
      takes = takes + 1
    else
      if other.creator == run.creator then own = own + 1 end
      if other.address == run.address then here = here + 1 end
      if not other.owner then waiting = waiting + 1 end
    end
  end
  if own >= tonumber(ARGV[5]) then return 'visitor' end
  if here >= tonumber(ARGV[6]) then return 'address' end
  if waiting >= tonumber(ARGV[7]) then return 'line' end
  if run.apart and takes >= tonumber(ARGV[8]) then return 'takes' end
end
redis.call('HSET', 'kitchen:runs', id, ARGV[2])
redis.call('SET', 'kitchen:order:' .. id, ARGV[3], 'EX', ARGV[4])
enter(run, id)
tell('order', id)
return 'taken'
"""
)
"""An order into the line, where the bounds allow it."""

NEXT = """
-- line, replica
while true do
  local line = 'kitchen:' .. ARGV[1]
  local address = redis.call('LPOP', line .. ':lanes')
  if not address then return false end
  local lane = line .. ':lane:' .. address
  local visitor = redis.call('LPOP', lane)
  local own = line .. ':of:' .. address .. ':' .. (visitor or '')
  local id = visitor and redis.call('LPOP', own)
  if redis.call('EXISTS', own) == 1 then redis.call('RPUSH', lane, visitor) end
  if redis.call('EXISTS', lane) == 1 then redis.call('RPUSH', line .. ':lanes', address) end
  local text = id and redis.call('HGET', 'kitchen:runs', id)
  if text then
    local run = cjson.decode(text)
    run.owner = ARGV[2]
    text = cjson.encode(run)
    redis.call('HSET', 'kitchen:runs', id, text)
    return {id, text, redis.call('GET', 'kitchen:order:' .. id)}
  end
end
"""
"""Who is next, for this replica to cook."""

STANDING = """
-- line
local line = 'kitchen:' .. ARGV[1]
local function by_turns(lists)
  local found, rounds = {}, 0
  for _, ids in ipairs(lists) do rounds = math.max(rounds, #ids) end
  for turn = 1, rounds do
    for _, ids in ipairs(lists) do
      if ids[turn] then found[#found + 1] = ids[turn] end
    end
  end
  return found
end
local lanes = {}
for i, address in ipairs(redis.call('LRANGE', line .. ':lanes', 0, -1)) do
  local lists = {}
  for j, visitor in ipairs(redis.call('LRANGE', line .. ':lane:' .. address, 0, -1)) do
    lists[j] = redis.call('LRANGE', line .. ':of:' .. address .. ':' .. visitor, 0, -1)
  end
  lanes[i] = by_turns(lists)
end
return by_turns(lanes)
"""
"""Every run that waits, who is next first."""

TAKE_OUT = (
    _LINE
    + """
-- id, replica
local text = redis.call('HGET', 'kitchen:runs', ARGV[1])
if not text then return 'gone' end
local run = cjson.decode(text)
if run.owner then return run.owner end
leave(run, ARGV[1])
run.owner = ARGV[2]
redis.call('HSET', 'kitchen:runs', ARGV[1], cjson.encode(run))
return ''
"""
)
"""A run that waits out of the line, to be closed by this replica. Returns who cooks it, if anybody does."""

PUT_BACK = (
    _TELL
    + _LINE
    + """
-- id, replica, most tries
local id = ARGV[1]
local text = redis.call('HGET', 'kitchen:runs', id)
local run = text and cjson.decode(text)
if not run or run.owner ~= ARGV[2] then return 'not ours' end
if redis.call('EXISTS', 'kitchen:log:' .. id) == 1 then return 'begun' end
run.tries = (run.tries or 0) + 1
if run.tries > tonumber(ARGV[3]) or redis.call('EXISTS', 'kitchen:order:' .. id) == 0 then return 'given up' end
run.owner = nil
redis.call('HSET', 'kitchen:runs', id, cjson.encode(run))
return_to_front(run, id)
tell('order', id)
return 'waits'
"""
)
"""An order that was taken and not begun, to the front of the line again."""

FORGET = """
-- id, replica
local text = redis.call('HGET', 'kitchen:runs', ARGV[1])
if not text or cjson.decode(text).owner ~= ARGV[2] then return 0 end
redis.call('DEL', 'kitchen:order:' .. ARGV[1], 'kitchen:log:' .. ARGV[1])
return redis.call('HDEL', 'kitchen:runs', ARGV[1])
"""
"""A run that was refused: nobody has been told of it."""

HAND_OVER = (
    _TELL
    + """
-- id, replica, to whom, why
local text = redis.call('HGET', 'kitchen:runs', ARGV[1])
local run = text and cjson.decode(text)
if not run or run.owner ~= ARGV[2] then return 0 end
run.owner = ARGV[3]
redis.call('HSET', 'kitchen:runs', ARGV[1], cjson.encode(run))
redis.call('DEL', 'kitchen:order:' .. ARGV[1])
tell('refused', ARGV[1], ARGV[4])
return 1
"""
)
"""What the engine refused goes back to who took it from its visitor, and has to tell them."""

APPEND = """
-- id, replica, record, first seq, last seq, lines, 1 for the last batch, seconds that it is kept
local id = ARGV[1]
local key = 'kitchen:log:' .. id
local text = redis.call('HGET', 'kitchen:runs', id)
if not text then
  if redis.call('HEXISTS', 'kitchen:shelf', id) + redis.call('EXISTS', 'kitchen:gone:' .. id) > 0 then
    return {'lost', 0}
  end
  text = ARGV[3]
  redis.call('HSET', 'kitchen:runs', id, text)
end
local run = cjson.decode(text)
if run.owner ~= ARGV[2] then return {'lost', 0} end
local entry = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
local last = entry and tonumber(string.match(entry[1], '^%d+')) or 0
if last + 1 ~= tonumber(ARGV[4]) then return {'has', last} end
redis.call('XADD', key, ARGV[5] .. '-0', 'first', ARGV[4], 'lines', ARGV[6], 'last', ARGV[7])
redis.call('EXPIRE', key, ARGV[8])
if last == 0 then redis.call('DEL', 'kitchen:order:' .. id) end
return {'has', tonumber(ARGV[5])}
"""
"""A batch to the end of a run's Stream, if it continues it and the run is this replica's. Returns what the Stream has,
so that a batch sent twice is there once, and one that comes too early is sent again from where it ends."""

SHELVE = (
    _TELL
    + """
-- id, replica (empty: put back what Redis lost), packed log, what is kept beside it, seconds that it is kept (or 0)
local id = ARGV[1]
local text = redis.call('HGET', 'kitchen:runs', id)
if text and cjson.decode(text).owner ~= ARGV[2] then return 'not ours' end
if redis.call('EXISTS', 'kitchen:gone:' .. id) == 1 then
  redis.call('HDEL', 'kitchen:runs', id)
  redis.call('DEL', 'kitchen:log:' .. id)
  return 'gone'
end
if ARGV[2] == '' and redis.call('HEXISTS', 'kitchen:shelf', id) == 1 then return 'known' end
redis.call('SET', 'kitchen:packed:' .. id, ARGV[3])
if ARGV[5] ~= '0' then redis.call('EXPIRE', 'kitchen:packed:' .. id, ARGV[5]) end
redis.call('HSET', 'kitchen:shelf', id, ARGV[4])
redis.call('HDEL', 'kitchen:runs', id)
redis.call('DEL', 'kitchen:order:' .. id)
redis.call('EXPIRE', 'kitchen:log:' .. id, 60)
tell('shelved', id)
return 'shelved'
"""
)
"""A closed log where every replica finds it. Its Stream stays a while for those who are still following it."""

CHANGE = (
    _TELL
    + """
-- id, what is kept beside it, seconds that it is kept (0: until it is deleted)
if redis.call('EXISTS', 'kitchen:gone:' .. ARGV[1]) == 1 then return 0 end
redis.call('HSET', 'kitchen:shelf', ARGV[1], ARGV[2])
if ARGV[3] == '0' then
  redis.call('PERSIST', 'kitchen:packed:' .. ARGV[1])
else
  redis.call('EXPIRE', 'kitchen:packed:' .. ARGV[1], ARGV[3])
end
tell('changed', ARGV[1])
return 1
"""
)
"""What stands about a closed run is another now."""

DISCARD = (
    _TELL
    + """
-- id, seconds for which a replica that was away may bring it back
redis.call('HDEL', 'kitchen:shelf', ARGV[1])
redis.call('SET', 'kitchen:gone:' .. ARGV[1], '1', 'EX', ARGV[2])
redis.call('DEL', 'kitchen:packed:' .. ARGV[1], 'kitchen:log:' .. ARGV[1])
tell('deleted', ARGV[1])
"""
)
"""A closed log, deleted for good."""

BEAT = (
    _NOW
    + """
-- replica, milliseconds of a lease, how its engine is, an epoch to begin with
local text = redis.call('HGET', 'kitchen:replicas', ARGV[1])
local own = text and cjson.decode(text)
local since = own and own.until_ms >= now and own.since_ms or now
redis.call('HSET', 'kitchen:replicas', ARGV[1],
  cjson.encode({until_ms = now + tonumber(ARGV[2]), since_ms = since, engine = ARGV[3]}))
redis.call('SET', 'kitchen:epoch', ARGV[4], 'NX')
local dead, alive = {}, {}
for id, found in pairs((function()
  local all, flat = {}, redis.call('HGETALL', 'kitchen:replicas')
  for i = 1, #flat, 2 do all[flat[i]] = cjson.decode(flat[i + 1]) end
  return all
end)()) do
  if found.until_ms >= now then
    alive[#alive + 1] = found.engine
  elseif now - since >= tonumber(ARGV[2]) then
    dead[#dead + 1] = id
  end
end
return {redis.call('GET', 'kitchen:epoch'), tostring(now), alive, dead}
"""
)
"""A replica lives for another lease. Returns who else does, and who does not: the dead are named only to a replica that
has itself been in touch for a whole lease, so that nobody is taken for dead because Redis was away."""

CLAIM = (
    _NOW
    + """
-- replica, the dead one
local text = redis.call('HGET', 'kitchen:replicas', ARGV[2])
if not text or cjson.decode(text).until_ms >= now then return {} end
redis.call('HDEL', 'kitchen:replicas', ARGV[2])
local flat, claimed = redis.call('HGETALL', 'kitchen:runs'), {}
for i = 1, #flat, 2 do
  local run = cjson.decode(flat[i + 1])
  if run.owner == ARGV[2] then
    run.owner = ARGV[1]
    redis.call('HSET', 'kitchen:runs', flat[i], cjson.encode(run))
    claimed[#claimed + 1] = flat[i]
  end
end
return claimed
"""
)
"""All that a dead replica cooked becomes this one's to end: once, since the dead one is struck off with it."""
