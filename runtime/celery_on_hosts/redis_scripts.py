"""The scripts of the transport for Redis, in Lua: each does in one step what no crash may interrupt."""

# What the scripts begin with. KEYS: unacked, unacked_index, unacked_deliveries, the dead letters, unacked_holders.
_COMMON = """
local unacked, index, deliveries, dead, holders = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])
local function dead_letter(message, queue, reason, count)
  redis.call('RPUSH', dead, '{"message":' .. message .. ',"queue":' .. cjson.encode(queue) ..
    ',"reason":"' .. reason .. '","count":' .. count .. ',"time":' .. now .. '}')
end
"""

# Claim the first message of these lists. More KEYS: the lists. ARGV: the holder of the claim; for each list its queue,
# and whether its messages are acknowledged.
# A record is what kombu's would be, with the nameless exchange, which every queue is bound to by its name.
CLAIM = (
    _COMMON
    + """
for i = 6, #KEYS do
  local queue, acknowledged = ARGV[2 * i - 10], ARGV[2 * i - 9] == '1'
  local message = redis.call('RPOP', KEYS[i])
  while message do
    local readable, fields = pcall(cjson.decode, message)
    local properties = readable and type(fields) == 'table' and fields.properties
    local tag = type(properties) == 'table' and properties.delivery_tag
    if tag then
      if acknowledged then
        redis.call('HSET', unacked, tag, '[' .. message .. ',"",' .. cjson.encode(queue) .. ']')
        redis.call('HSET', holders, tag, ARGV[1])
        redis.call('ZADD', index, now, tag)
      end
      return {queue, message, redis.call('HGET', deliveries, tag) or 0}
    end
    dead_letter(readable and message or cjson.encode(message), queue, 'unreadable', 1)
    message = redis.call('RPOP', KEYS[i])
  end
end
"""
)

# ARGV: tags that are done.
ACK = """
for _, tag in ipairs(ARGV) do
  redis.call('ZREM', KEYS[2], tag)
  redis.call('HDEL', KEYS[1], tag)
  redis.call('HDEL', KEYS[3], tag)
  redis.call('HDEL', KEYS[5], tag)
end
"""

# ARGV: tags that a worker still holds. Allowed at maxmemory: the script adds none.
CONFIRM = """#!lua flags=allow-oom
local clock = redis.call('TIME')
for _, tag in ipairs(ARGV) do
  redis.call('ZADD', KEYS[2], 'XX', string.format('%d.%06d', clock[1], clock[2]), tag)
end
"""

# Give messages back. ARGV: why (lost, left, requeued, returned, rejected), the delivery limit, kombu's separator
# between a queue's name and a priority, a prefix of keys, the priority steps with commas; then tags, the last first,
# because it ends behind the others; or for lost an age in seconds. A server that has just started waits as long for
# the workers to reconnect before it calls a message lost. Returns the tags that kombu's transport recorded, which knows
# where those messages belong.
RELEASE = (
    _COMMON
    + """
local why, limit, separator, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local tags = {unpack(ARGV, 6)}
if why == 'lost' then
  local age = tonumber(tags[1])
  local up = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  if up < age then return {} end
  tags = redis.call('ZREVRANGEBYSCORE', index, now - age, '-inf', 'LIMIT', 0, 500)
end
local foreign = {}
for _, tag in ipairs(tags) do
  local record = redis.call('HGET', unacked, tag)
  redis.call('HDEL', holders, tag)
  if not record then
    redis.call('ZREM', index, tag)
  else
    local fields = cjson.decode(record)
    local queue = fields[3]
    local tail = ',"",' .. cjson.encode(queue) .. ']'
    if string.sub(record, -#tail) ~= tail then
      table.insert(foreign, tag)
    else
      local message = string.sub(record, 2, -#tail - 1)
      redis.call('ZREM', index, tag)
      redis.call('HDEL', unacked, tag)
      local count = why == 'returned' and 0 or redis.call('HINCRBY', deliveries, tag, 1)
      if why == 'rejected' or count >= limit then
        redis.call('HDEL', deliveries, tag)
        dead_letter(message, queue, why == 'rejected' and why or 'delivery_limit', count)
      else
        local priority, step = tonumber(fields[1].properties.priority) or 0, 0
        for one in string.gmatch(ARGV[5], '%d+') do
          if tonumber(one) <= priority then step = tonumber(one) end
        end
        local list = prefix .. queue .. (step == 0 and '' or separator .. step)
        redis.call(why == 'requeued' and 'LPUSH' or 'RPUSH', list, message)
      end
    end
  end
end
return foreign
"""
)

# KEYS: a list, its token. ARGV: a message, for how many seconds a token that nobody waits for is kept.
PUBLISH = """
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 0, '')
redis.call('EXPIRE', KEYS[2], ARGV[2])
"""
