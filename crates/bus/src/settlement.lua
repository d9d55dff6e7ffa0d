-- Replaces what requests have reserved by what they used. KEYS: one hash for each; ARGV: for each the tokens to put back (below zero:
-- to take), the tokens used, and the month. What nobody counts any more is left alone.
for i = 1, #KEYS do
  local a = (i - 1) * 3
  if redis.call('HEXISTS', KEYS[i], 't') == 1 then
    redis.call('HINCRBYFLOAT', KEYS[i], 't', ARGV[a + 1])
  end
  if redis.call('HGET', KEYS[i], 'm') == ARGV[a + 3] then
    redis.call('HINCRBY', KEYS[i], 'u', ARGV[a + 2])
  end
end
return 0
