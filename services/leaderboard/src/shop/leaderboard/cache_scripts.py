"""The Lua scripts of cached boards. Each is atomic.

Of a board's season KEYS[1] is the hash of its state. `live` names the generation that is read, with the board's
`epoch` when it was begun and the `server` that holds it; `building` names one that is being written, with
`building_epoch`. `expires` is when all of it goes, in seconds since 1970, or 0. A generation has two keys beside it:
`<generation>:ranks`, a sorted set of members that all have the score 0 and so are ordered by their bytes, and
`<generation>:players`, a hash of the 16 bytes of a player's id to `<revision>,<place><name>`: 24 bytes of the place and
the name, or neither for a player who is not listed. What a release before this one wrote has no comma there: a script
that meets it fails or answers nothing, and the season is written anew.
"""

from __future__ import annotations

GONE_KEY = "leaderboard:gone:"
"""Followed by a deleted player's id in bytes: a process that read the player's entry before cannot write it again."""
HIDING_KEY = "leaderboard:hiding:"
"""Followed by the id of a player who is being hidden or deleted, in bytes: no answer from the cache lists this player.
Its value is the id of the event."""
LEFTOVER_S = 600
"""How long a generation stays whose writer ended."""
PLACE_BYTES = 24

_KEYS = f"""
local function ranks_of(generation) return KEYS[1] .. ':' .. generation .. ':ranks' end
local function players_of(generation) return KEYS[1] .. ':' .. generation .. ':players' end
local function split(value)
  local revision, start = string.match(value, '^(%d+),()')
  if not revision then return nil, '', '' end
  local name = start + {PLACE_BYTES}
  return tonumber(revision), string.sub(value, start, name - 1), string.sub(value, name)
end
"""

_PUT = (
    _KEYS
    + """
local function put(generation, player, revision, place, name)
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
  redis.call('HSET', players, player, revision .. ',' .. place .. name)
end
"""
)

# ARGV: player, revision, place and name of each entry. Returns 0 when the season is not cached.
APPLY = (
    _PUT
    + """
local state = redis.call('HMGET', KEYS[1], 'live', 'building', 'expires')
for _, generation in ipairs({state[1] or '', state[2] or ''}) do
  if generation ~= '' then
    for i = 1, #ARGV, 4 do put(generation, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) end
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

# ARGV: the generation, then player, revision, place and name of each entry. Returns 0 when another writer began anew.
FILL = (
    _PUT
    + f"""
if redis.call('HGET', KEYS[1], 'building') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 4 do put(ARGV[1], ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) end
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

# KEYS: of the players who are being hidden. ARGV: how long at most, in seconds, then the event of each.
HIDE = """
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1]) end
return 1
"""

# As HIDE, after the change is cached. What another event set stays.
SHOW = """
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i + 1] then redis.call('DEL', key) end
end
return 1
"""

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
  local revision, place = split(known)
  return revision and (place == '' and '' or place .. player)
end
"""
)

# The names of members, '' for a player who is being hidden; nothing when one of them has no name.
_NAMES = f"""
local function names_of(members)
  if #members == 0 then return {{}} end
  local ids, keys = {{}}, {{}}
  for i, member in ipairs(members) do
    ids[i] = string.sub(member, {PLACE_BYTES + 1})
    keys[i] = '{HIDING_KEY}' .. ids[i]
  end
  local known, hiding, names = redis.call('HMGET', players, unpack(ids)), redis.call('MGET', unpack(keys)), {{}}
  for i = 1, #members do
    local _, _, name = split(known[i] or '')
    if name == '' then return false end
    names[i] = hiding[i] and '' or name
  end
  return names
end
"""

# ARGV: server, the last member before the page or '', length. Returns epoch, total, rank of the first, members, names.
TOP = (
    _READ
    + _NAMES
    + """
local start = 0
if ARGV[2] ~= '' then start = redis.call('ZLEXCOUNT', ranks, '-', '[' .. ARGV[2]) end
local members = redis.call('ZRANGE', ranks, start, start + ARGV[3] - 1)
local names = names_of(members)
return names and {epoch, total, start + 1, members, names}
"""
)

# ARGV: server, player, neighbours on each side. Returns as TOP does, no members for a player who is not listed.
AROUND = (
    _READ
    + _NAMES
    + """
local member = member_of(ARGV[2])
if not member then return false end
if member == '' then return {epoch, total, 1, {}, {}} end
local rank = redis.call('ZRANK', ranks, member)
if not rank then return false end
local start = math.max(0, rank - ARGV[3])
local members = ARGV[3] == '0' and {member} or redis.call('ZRANGE', ranks, start, rank + ARGV[3])
local names = names_of(members)
return names and {epoch, total, start + 1, members, names}
"""
)

# ARGV: server, players. Returns epoch, total, ranks, members and names of the players who are listed.
AMONG = (
    _READ
    + _NAMES
    + """
local ranked, members = {}, {}
for i = 2, #ARGV do
  local member = member_of(ARGV[i])
  if not member then return false end
  if member ~= '' then
    local rank = redis.call('ZRANK', ranks, member)
    if not rank then return false end
    ranked[#ranked + 1] = rank + 1
    members[#members + 1] = member
  end
end
local names = names_of(members)
return names and {epoch, total, ranked, members, names}
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
  if not member or member ~= '' and not redis.call('ZRANK', ranks, member) then value = '' end
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
    "hide": HIDE,
    "show": SHOW,
    "top": TOP,
    "around": AROUND,
    "among": AMONG,
    "stored": STORED,
}
