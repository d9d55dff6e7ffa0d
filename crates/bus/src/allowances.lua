-- Lets a request in when every subject allows it, or takes nothing from any: token buckets that fill evenly within a minute, and what
-- was used of a month. The clock is Redis's own.
--
-- KEYS: one hash for each subject. ARGV[1]: tokens to reserve. Then for each subject eleven numbers: what a minute allows of requests
-- (0: no limit), the level when nobody has counted yet, what was used and not told; the same of tokens; the month, what it allows
-- (-1: no limit), what was used when nobody has counted yet, what was used and not told, the milliseconds left of it.
--
-- Answers: which subject refuses (0: none), which limit (1 requests, 2 tokens, 3 month), the wait in milliseconds, and for each subject
-- the levels of requests and tokens and what was used of the month.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local minute = 60000
local tokens = tonumber(ARGV[1])
local refusing, limit, longest = 0, 0, 0
local states = {}

local function refuse(subject, which, wait)
  if refusing == 0 or wait > longest then
    refusing, limit, longest = subject, which, wait
  end
end

for i = 1, #KEYS do
  local a = 1 + (i - 1) * 11
  local known = redis.call('HMGET', KEYS[i], 'r', 'rc', 't', 'tc', 'at', 'm', 'u')
  local at = tonumber(known[5] or now)
  local state = { levels = {}, capacities = {} }
  for w = 1, 2 do
    local capacity = tonumber(ARGV[a + (w - 1) * 3 + 1])
    if capacity > 0 then
      local level = tonumber(known[w * 2 - 1])
      if level then
        local before = tonumber(known[w * 2])
        level = math.min(before, level + math.max(0, now - at) / minute * before)
        level = level + capacity - before - tonumber(ARGV[a + (w - 1) * 3 + 3])
        level = math.min(level, capacity)
      else
        level = tonumber(ARGV[a + (w - 1) * 3 + 2])
      end
      state.levels[w], state.capacities[w] = level, capacity
      local amount = w == 1 and 1 or math.max(tokens, 1)
      local missing = math.min(amount, capacity) - level
      if missing > 0.000001 then
        refuse(i, w, missing / capacity * minute)
      end
    end
  end
  local most = tonumber(ARGV[a + 8])
  if most >= 0 then
    if known[6] == ARGV[a + 7] then
      state.used = tonumber(known[7]) + tonumber(ARGV[a + 10])
    else
      state.used = tonumber(ARGV[a + 9])
    end
    if state.used >= most then
      refuse(i, 3, tonumber(ARGV[a + 11]))
    end
  end
  states[i] = state
end

local answer = { refusing, limit, tostring(math.ceil(longest)) }
for i = 1, #KEYS do
  local a = 1 + (i - 1) * 11
  local state = states[i]
  local fields = { 'at', now }
  local kept = minute
  for w = 1, 2 do
    local level, capacity = state.levels[w], state.capacities[w]
    if level then
      if refusing == 0 then
        level = level - (w == 1 and 1 or tokens)
      end
      kept = math.max(kept, (capacity - level) / capacity * minute + minute)
      local name = w == 1 and 'r' or 't'
      level = string.format('%.6f', level)
      fields[#fields + 1], fields[#fields + 2] = name, level
      fields[#fields + 1], fields[#fields + 2] = name .. 'c', capacity
      answer[#answer + 1] = level
    else
      answer[#answer + 1] = '0'
    end
  end
  if state.used then
    fields[#fields + 1], fields[#fields + 2] = 'm', ARGV[a + 7]
    fields[#fields + 1], fields[#fields + 2] = 'u', string.format('%.0f', state.used)
    kept = math.max(kept, tonumber(ARGV[a + 11]) + minute)
  end
  answer[#answer + 1] = string.format('%.0f', state.used or 0)
  redis.call('HSET', KEYS[i], unpack(fields))
  redis.call('PEXPIRE', KEYS[i], math.ceil(kept))
end
return answer
