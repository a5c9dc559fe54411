"""The Lua scripts of cached boards. Each is atomic.

Of a board's season KEYS[1] is the hash of its state. `live` names the generation that is read, with the board's
`epoch` when it was begun and the `server` that holds it; `building` names one that is being written, with
`building_epoch`. `expires` is when all of it goes, in seconds since 1970, or 0. A generation has two keys beside it:
`<generation>:ranks`, a sorted set of members that all have the score 0 and so are ordered by their bytes, and
`<generation>:players`, a hash of the 16 bytes of a player's id to `<revision>:<place>`, with an empty place for a
player who is not listed.
"""

from __future__ import annotations

GONE_KEY = "leaderboard:gone:"
"""Followed by a deleted player's id in bytes: a process that read the player's entry before cannot write it again."""
LEFTOVER_S = 600
"""How long a generation stays whose writer ended."""

_KEYS = """
local function ranks_of(generation) return KEYS[1] .. ':' .. generation .. ':ranks' end
local function players_of(generation) return KEYS[1] .. ':' .. generation .. ':players' end
local function split(value)
  local colon = string.find(value, ':', 1, true)
  return tonumber(string.sub(value, 1, colon - 1)), string.sub(value, colon + 1)
end
"""

_PUT = (
    _KEYS
    + """
local function put(generation, player, revision, place)
  local ranks, players = ranks_of(generation), players_of(generation)
  local known = redis.call('HGET', players, player)
  if known then
    local known_revision, known_place = split(known)
    if known_revision >= tonumber(revision) then return end
    if known_place ~= '' then redis.call('ZREM', ranks, known_place .. player) end
  end
  if redis.call('EXISTS', '"""
    + GONE_KEY
    + """' .. player) == 1 then return redis.call('HDEL', players, player) end
  if place ~= '' then redis.call('ZADD', ranks, 0, place .. player) end
  redis.call('HSET', players, player, revision .. ':' .. place)
end
"""
)

# ARGV: player, revision and place of each entry. Returns 0 when the season is not cached.
APPLY = (
    _PUT
    + """
local state = redis.call('HMGET', KEYS[1], 'live', 'building', 'expires')
for _, generation in ipairs({state[1] or '', state[2] or ''}) do
  if generation ~= '' then
    for i = 1, #ARGV, 3 do put(generation, ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
    if generation == state[1] and state[3] ~= '0' then
      redis.call('EXPIREAT', ranks_of(generation), state[3])
      redis.call('EXPIREAT', players_of(generation), state[3])
    end
  end
end
return (state[1] or state[2]) and 1 or 0
"""
)

# ARGV: the players who are deleted.
REMOVE = (
    _KEYS
    + """
local state = redis.call('HMGET', KEYS[1], 'live', 'building')
for _, generation in ipairs({state[1] or '', state[2] or ''}) do
  for _, player in ipairs(generation == '' and {} or ARGV) do
    local known = redis.call('HGET', players_of(generation), player)
    if known then
      local _, place = split(known)
      if place ~= '' then redis.call('ZREM', ranks_of(generation), place .. player) end
      redis.call('HDEL', players_of(generation), player)
    end
  end
end
return 1
"""
)

# ARGV: the new generation, the board's epoch.
BEGIN = (
    _KEYS
    + """
local before = redis.call('HGET', KEYS[1], 'building')
if before then redis.call('UNLINK', ranks_of(before), players_of(before)) end
redis.call('HSET', KEYS[1], 'building', ARGV[1], 'building_epoch', ARGV[2])
return 1
"""
)

# ARGV: the generation, then player, revision and place of each entry. Returns 0 when another writer began anew.
FILL = (
    _PUT
    + f"""
if redis.call('HGET', KEYS[1], 'building') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 3 do put(ARGV[1], ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
redis.call('EXPIRE', ranks_of(ARGV[1]), {LEFTOVER_S})
redis.call('EXPIRE', players_of(ARGV[1]), {LEFTOVER_S})
return 1
"""
)

# ARGV: the generation, the server, when the season's keys expire or 0.
SWITCH = (
    _KEYS
    + """
local state = redis.call('HMGET', KEYS[1], 'building', 'building_epoch', 'live')
if state[1] ~= ARGV[1] then return 0 end
if state[3] then redis.call('UNLINK', ranks_of(state[3]), players_of(state[3])) end
redis.call('HSET', KEYS[1], 'live', ARGV[1], 'epoch', state[2], 'server', ARGV[2], 'expires', ARGV[3])
redis.call('HDEL', KEYS[1], 'building', 'building_epoch')
for _, key in ipairs({KEYS[1], ranks_of(ARGV[1]), players_of(ARGV[1])}) do
  if ARGV[3] == '0' then redis.call('PERSIST', key) else redis.call('EXPIREAT', key, ARGV[3]) end
end
return 1
"""
)

# The scripts that read return nothing when there is no live generation of this server. ARGV[1]: the server.
_READ = (
    _KEYS
    + """
local state = redis.call('HMGET', KEYS[1], 'live', 'epoch', 'server')
if not state[1] or state[3] ~= ARGV[1] then return false end
local ranks, players, epoch = ranks_of(state[1]), players_of(state[1]), state[2]
local total = redis.call('ZCARD', ranks)
local function member_of(player)
  local known = redis.call('HGET', players, player)
  if not known then return '' end
  local _, place = split(known)
  return place == '' and '' or place .. player
end
"""
)

# ARGV: server, the last member before the page or '', length. Returns epoch, total, rank of the first, members.
TOP = (
    _READ
    + """
local start = 0
if ARGV[2] ~= '' then start = redis.call('ZLEXCOUNT', ranks, '-', '[' .. ARGV[2]) end
return {epoch, total, start + 1, redis.call('ZRANGE', ranks, start, start + ARGV[3] - 1)}
"""
)

# ARGV: server, player, neighbours on each side. Returns as TOP does, no members for a player who is not listed.
AROUND = (
    _READ
    + """
local member = member_of(ARGV[2])
if member == '' then return {epoch, total, 1, {}} end
local rank = redis.call('ZRANK', ranks, member)
if not rank then return false end
local start = math.max(0, rank - ARGV[3])
return {epoch, total, start + 1, redis.call('ZRANGE', ranks, start, rank + ARGV[3])}
"""
)

# ARGV: server, players. Returns epoch, total, and rank and member of each player who is listed.
AMONG = (
    _READ
    + """
local found = {}
for i = 2, #ARGV do
  local member = member_of(ARGV[i])
  if member ~= '' then
    local rank = redis.call('ZRANK', ranks, member)
    if not rank then return false end
    found[#found + 1] = rank + 1
    found[#found + 1] = member
  end
end
return {epoch, total, found}
"""
)

# ARGV: server, players. Returns epoch, total, some players, and of each asked one the stored value; '' for one who is
# not there, or has a place but no rank.
STORED = (
    _READ
    + """
local values = {}
for i = 2, #ARGV do
  local value = redis.call('HGET', players, ARGV[i]) or ''
  local member = member_of(ARGV[i])
  if member ~= '' and not redis.call('ZRANK', ranks, member) then value = '' end
  values[#values + 1] = value
end
return {epoch, total, redis.call('HRANDFIELD', players, 50) or {}, values}
"""
)

SCRIPTS = {
    "apply": APPLY,
    "remove": REMOVE,
    "begin": BEGIN,
    "fill": FILL,
    "switch": SWITCH,
    "top": TOP,
    "around": AROUND,
    "among": AMONG,
    "stored": STORED,
}
