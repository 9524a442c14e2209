-- The shared accounting of a quota, updated atomically. headrace/limits/books.py has the same arithmetic, line for line, with explanations.
-- KEYS of one account: books (hash), flight (sorted set by expiry), members (hash), rests (hash), wants (hash), and since (when the store was
-- first used), all in one cluster slot. With several accounts their keys follow each other, if one server has the slots of all.
-- ARGV: operation, now ('' for the server's own clock), then the operation's arguments. Times are microseconds.
local EPSILON, CHUNK, YOUNG = 1e-6, 100, 4000000
local FILLING, LEAST, AFRESH = 0.75, 0.25, 2000000
local HANDS_ON, SPARE_HANDS_ON, LOOKS, LOOKS_IN, KNOWN, SOON = 2000000, 5000000, 2800000, 10000000, 2000000, 8
local books, flight, members, rests, wants, since = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function text(number) return string.format('%.17g', number) end
local given = ARGV -- arguments of the current operation
local function argument(at) return tonumber(given[at]) end

local function opens() -- the moment by which all processes have told a new store what they charged
  local began = tonumber(redis.call('GET', since))
  if not began then
    began = now
    redis.call('SET', since, text(now))
  end
  return began + YOUNG
end

-- ---- calls in flight, by expiry; of a block, its first place is here and the number of its others in books

local function others_of(id, count)
  local before = tonumber(redis.call('HGET', books, 'seats:' .. id) or '0')
  if count == before then return end
  redis.call('HSET', books, 'seats', text(tonumber(redis.call('HGET', books, 'seats') or '0') + count - before))
  if count > 0 then redis.call('HSET', books, 'seats:' .. id, text(count)) else redis.call('HDEL', books, 'seats:' .. id) end
end

local function land() -- drops calls that have expired; returns the number in flight
  if tonumber(redis.call('HGET', books, 'seats') or '0') > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', flight, '-inf', text(now))) do others_of(id, 0) end
  end
  redis.call('ZREMRANGEBYSCORE', flight, '-inf', text(now))
  return redis.call('ZCARD', flight) + tonumber(redis.call('HGET', books, 'seats') or '0')
end

local function fly(first, count, until_, keep)
  for i = first, first + count - 1 do
    local id, seats = string.match(given[i], '^(.*)%*(%d+)$')
    redis.call('ZADD', flight, text(until_), id or given[i])
    if id then others_of(id, tonumber(seats)) end
  end
  if count > 0 then redis.call('PEXPIRE', flight, keep) end
end

-- ---- one limit

local function load_terms(terms)
  local fields = {'held', 'turn', 'born'}
  for _, term in ipairs(terms) do
    for _, part in ipairs({'.sum', '.old', '.new', '.paid', '.ever'}) do fields[#fields + 1] = term.key .. part end
  end
  local found = redis.call('HMGET', books, unpack(fields))
  for i, term in ipairs(terms) do
    local at = 3 + (i - 1) * 5
    term.sum = tonumber(found[at + 1] or '0')
    term.old = tonumber(found[at + 2] or '0')
    term.new = tonumber(found[at + 3] or '-1')
    term.paid = tonumber(found[at + 4] or '0')
    term.ever = tonumber(found[at + 5] or '0')
  end
  return tonumber(found[1] or '0'), tonumber(found[2] or '0'), tonumber(found[3] or '0')
end

local function slots(term, first, last)
  local fields = {}
  for slot = first, last do fields[#fields + 1] = term.key .. ':' .. text(slot) end
  return redis.call('HMGET', books, unpack(fields)), fields
end

local function forget(term)
  if term.span == 0 then return end
  local edge = math.floor((now - term.span) / term.slot)
  local last = math.min(edge - 1, term.new)
  while term.old <= last do
    local chunk = math.min(term.old + CHUNK - 1, last)
    local costs, fields = slots(term, term.old, chunk)
    for _, cost in ipairs(costs) do
      if cost then term.sum = term.sum - tonumber(cost) end
    end
    redis.call('HDEL', books, unpack(fields))
    term.old = chunk + 1
  end
  if term.old > term.new then term.sum = 0 end
end

local function fits_at(term)
  local excess = term.sum + term.cost - term.room
  if excess <= EPSILON then return now end
  if term.cost <= term.room + EPSILON then
    local first = term.old
    while first <= term.new do
      local last = math.min(first + CHUNK - 1, term.new)
      local costs = slots(term, first, last)
      for i = 1, last - first + 1 do
        if costs[i] then
          excess = excess - tonumber(costs[i])
          if excess <= EPSILON then return (first + i) * term.slot + term.span end
        end
      end
      first = last + 1
    end
  end
  return now + term.span
end

local function opens_at(term)
  if term.span == 0 then return now end -- a place is freed when a call ends, which cannot be predicted
  local at = fits_at(term)
  if term.rate > 0 and term.paid - term.tolerance > at then at = term.paid - term.tolerance end
  return at
end

local function earliest(terms, held)
  local at, binding = math.max(now, held), 0
  for i, term in ipairs(terms) do
    local open = opens_at(term)
    if open > at then at, binding = open, i end
  end
  return at, binding
end

local function add(term, at, cost)
  local slot = math.floor(at / term.slot)
  if term.old > term.new then term.old, term.new = slot, slot end
  term.old, term.new = math.min(term.old, slot), math.max(term.new, slot)
  local field = term.key .. ':' .. text(slot)
  redis.call('HSET', books, field, text(tonumber(redis.call('HGET', books, field) or '0') + cost))
  term.sum = term.sum + cost
  if cost > 0 then term.ever = term.ever + cost end
end

local function pay(term, at, expected)
  if term.rate > 0 then term.paid = math.max(term.paid, at) + expected / term.rate end
end

local function save(terms, turn, born, keep)
  local fields = {'turn', text(turn), 'born', text(born)}
  for _, term in ipairs(terms) do
    for part, value in pairs({['.sum'] = term.sum, ['.old'] = term.old, ['.new'] = term.new, ['.paid'] = term.paid, ['.ever'] = term.ever}) do
      fields[#fields + 1], fields[#fields + 2] = term.key .. part, text(value)
    end
  end
  redis.call('HSET', books, unpack(fields))
  if keep then redis.call('PEXPIRE', books, keep) end
end

local function state(terms, reply)
  for _, term in ipairs(terms) do
    reply[#reply + 1] = text(term.sum)
    reply[#reply + 1] = text(term.paid - now)
    reply[#reply + 1] = text(term.ever)
  end
  return reply
end

-- ---- turns of processes

local function step(terms, binding, quantum)
  local term = terms[binding]
  if not term then return quantum end
  local rate = term.rate > 0 and term.rate or term.room / term.span
  local cost = term.expected > 0 and term.expected or term.cost
  return math.max(quantum, math.min(cost / rate, 5000000))
end

-- ---- places for calls in flight, among processes that want more than they hold

local function claimant(terms, process, holds)
  local one = {process = process, holds = holds, level = holds, since = now, until_ = 0, rivals = {}, look = 0, stride = 0}
  for i, term in ipairs(terms) do
    if term.span == 0 then one.term, one.number = term, i end
  end
  if not one.term then return one end
  one.room = math.max(1, math.floor(one.term.room + EPSILON))
  local all = redis.call('HGETALL', wants)
  for i = 1, #all, 2 do
    local level, from, until_ = string.match(all[i + 1], '(%S+) (%S+) (%S+)')
    if all[i] == 'look' then
      one.look = tonumber(all[i + 1])
    elseif all[i] == 'stride' then
      one.stride = tonumber(all[i + 1])
    elseif tonumber(until_) <= now then
      redis.call('HDEL', wants, all[i])
    elseif all[i] == process then
      one.level, one.since, one.until_ = tonumber(level), tonumber(from), tonumber(until_)
    else
      one.rivals[#one.rivals + 1] = {level = tonumber(level), since = tonumber(from), until_ = tonumber(until_)}
    end
  end
  one.gave = holds < one.level -- a call of its own has ended
  if one.gave or one.stride == 0 then one.stride = one.term.tolerance end -- it knows how long calls take
  return one
end

local function left_to_rivals(one)
  local hands_on = one.holds > 0 and SPARE_HANDS_ON or HANDS_ON
  local first = one.since - #one.rivals * (hands_on / one.room + 2 * one.stride) -- a rival that has waited longer goes first
  if one.gave then first = now - one.since >= hands_on and now - hands_on or -1 end
  local left = 0
  for _, rival in ipairs(one.rivals) do
    local short = one.holds - rival.level
    local soon = rival.level > 0 or rival.until_ - KNOWN - now <= (now - rival.since) / SOON
    if rival.since <= first and soon then short = short + 1 end
    left = left + math.max(0, short)
  end
  return left
end

local function places(one, in_flight)
  if not one.term then return 1 end
  local free = one.room - in_flight - left_to_rivals(one)
  return math.max(0, #one.rivals > 0 and math.min(1, free) or free)
end

local function looks_at(one)
  local held, richest, poor = one.holds, 0, 1
  for _, rival in ipairs(one.rivals) do
    held, richest = held + rival.level, math.max(richest, rival.level)
    if rival.level == 0 then poor = poor + 1 end
  end
  local fair, full = richest <= one.holds + 1, held >= one.room
  if fair and one.holds > 0 then return now + (full and richest <= one.holds and LOOKS_IN or LOOKS) end
  local at, apart = math.max(now + one.stride, one.look), one.stride + HANDS_ON / (8 * one.room)
  one.look = math.ceil(at + (fair and full and math.max(apart, LOOKS / poor) or apart))
  return at
end

local function know(one, until_, keep)
  local want = text(one.level) .. ' ' .. text(one.since) .. ' ' .. text(until_)
  redis.call('HSET', wants, one.process, want, 'look', text(one.look), 'stride', text(one.stride))
  redis.call('PEXPIRE', wants, keep)
end

local function gives_up(one, keep) -- records that it got no place; returns when it polls again
  if one.holds < one.level then one.level, one.since = one.holds, now end
  local at = looks_at(one)
  know(one, at + KNOWN, keep)
  return at
end

local function takes(one, in_flight, more, keep) -- takes a place; returns what more it may take, and when it polls again if nothing
  one.holds = one.holds + 1
  if one.holds > one.level then one.level, one.since = one.holds, now end
  one.gave = one.holds < one.level
  local left, at = places(one, in_flight), now
  if not more then
    redis.call('HDEL', wants, one.process)
  elseif left == 0 then
    at = looks_at(one)
    know(one, at + KNOWN, keep)
  elseif one.until_ > 0 then
    know(one, one.until_, keep)
  end
  return left, at
end

-- ---- operations

local function admit()
  local id, keep, lease, horizon, quantum = given[3], given[4], argument(5), argument(6), argument(7)
  local until_ = argument(8)
  local fresh, more, waits = given[9] == '1', given[10] == '1', given[11] == '1'
  local all_told, told = opens(), given[12] == '1'
  local process, holds = given[13], argument(14)
  local terms = {}
  for at = 15, #given, 8 do
    terms[#terms + 1] = {
      key = given[at], room = argument(at + 1), cost = argument(at + 2), span = argument(at + 3), slot = argument(at + 4),
      rate = argument(at + 5), tolerance = argument(at + 6), expected = argument(at + 7),
    }
  end
  local held, turn, born = load_terms(terms)
  if born == 0 then born = now end
  if not told then held = math.max(held, all_told) end
  local in_flight = land()
  if redis.call('ZSCORE', flight, id) then
    return state(terms, {'1', text(now), '0', '0', '0', '0', text(born), text(in_flight), '0', text(now)})
  end
  for _, term in ipairs(terms) do forget(term) end
  local at, binding = earliest(terms, held)
  local place = claimant(terms, process, holds)
  local left = places(place, in_flight)
  local mine = until_ > 0 and now <= until_ + horizon
  local others = turn > now and not (mine and turn <= until_)
  local start = at
  if others and (not mine or (not fresh and at > until_)) then start = math.max(at, turn) end
  if start > now + horizon then
    local stride = step(terms, binding, quantum)
    local promise = start
    if waits and (told or now >= all_told) and not (mine and fresh) then
      promise = math.max(at, turn)
      turn = math.ceil(promise + stride)
    end
    save(terms, turn, born, keep)
    return state(terms, {
      '0', '0', '0', text(promise - now), text(math.ceil(promise + stride) - now), text(binding), text(born), text(in_flight), text(left), text(now),
    })
  end
  if left == 0 then
    local promise = waits and gives_up(place, keep) or now + place.term.tolerance
    save(terms, turn, born, keep)
    return state(terms, {
      '0', '0', '0', text(promise - now), '0', text(place.number), text(born), text(in_flight), '0', text(now),
    })
  end
  local ahead = others and not mine
  if ahead then turn = math.ceil(math.max(turn, start + step(terms, binding, quantum))) end
  for _, term in ipairs(terms) do
    if term.span > 0 then
      add(term, start, term.cost)
      pay(term, start, term.expected)
    end
  end
  redis.call('ZADD', flight, text(start + lease), id)
  redis.call('PEXPIRE', flight, keep)
  in_flight = in_flight + 1
  local promise, ends, looks = 0, 0, now
  if place.term then left, looks = takes(place, in_flight, more, keep) end
  if more then
    local following, next_binding = earliest(terms, held)
    if following > now + horizon or ahead or (turn > now and mine and following > until_ and turn > until_) then
      local from = math.max(following, turn)
      ends = math.ceil(from + step(terms, next_binding, quantum))
      turn = ends
      promise, ends = from - now, ends - now
    elseif left == 0 then
      promise, binding = looks - now, place.number
    end
  end
  save(terms, turn, born, keep)
  return state(terms, {
    '1', text(start), text(start - now), text(promise), text(ends), text(binding), text(born), text(in_flight), text(left), text(now),
  })
end

-- Corrects the charges made at `at` by the difference to the actual cost.
local function correct(first, keep, at)
  local terms = {}
  for i = first, #given, 7 do
    terms[#terms + 1] = {
      key = given[i], span = argument(i + 1), slot = argument(i + 2), rate = argument(i + 3), difference = argument(i + 4),
      written = argument(i + 5), owed = argument(i + 6),
    }
  end
  local _, turn, born = load_terms(terms)
  if born == 0 then return {'1'} end
  for _, term in ipairs(terms) do
    forget(term)
    local from = math.min(at, (term.new + 1) * term.slot - 1) -- the slot of a charge moved to a late departure is known only approximately
    if term.difference ~= 0 and math.floor(from / term.slot) >= term.old then add(term, from, term.difference) end
    if term.written ~= 0 then add(term, now, term.written) end
    if term.rate > 0 then term.paid = term.paid + term.owed / term.rate end
  end
  save(terms, turn, born, keep)
  return {'1'}
end

local function settle()
  if redis.call('ZREM', flight, given[3]) == 0 then return {'0'} end
  return correct(6, given[4], argument(5))
end

-- ---- blocks: room for the calls of a short time, which a process admits by itself

local function returned(term) -- what blocks gave back unused within the last AFRESH
  local found = redis.call('HMGET', books, term.key .. '.back', term.key .. '.back_at')
  return now - tonumber(found[2] or '0') <= AFRESH and tonumber(found[1] or '0') or 0
end

local function returns(term, amount)
  redis.call('HSET', books, term.key .. '.back', text(amount), term.key .. '.back_at', text(now))
end

local function block()
  local id, keep, lease, length, process, holds = given[3], given[4], argument(5), argument(6), given[7], argument(8)
  local terms = {}
  for at = 9, #given, 9 do
    terms[#terms + 1] = {
      key = given[at], room = argument(at + 1), cost = argument(at + 2), span = argument(at + 3), slot = argument(at + 4),
      rate = argument(at + 5), tolerance = argument(at + 6), expected = argument(at + 7), part = argument(at + 8),
    }
  end
  local held, turn, born = load_terms(terms)
  if born == 0 then born = now end
  local in_flight, start, share, seats = land(), now + length, 1, 1
  if held > now or opens() > now or turn > now or redis.call('ZSCORE', flight, id) then share = 0 end
  if #claimant(terms, process, holds).rivals > 0 then share = 0 end
  for _, term in ipairs(terms) do
    forget(term)
    local used = term.span == 0 and in_flight or term.sum
    share = math.min(share, (FILLING * term.room - used) / term.part / term.cost)
    if term.rate > 0 then
      share = math.min(share, (now + term.tolerance - math.max(term.paid, start)) * term.rate / term.part / term.expected)
    end
  end
  if share < LEAST then
    save(terms, turn, born, keep)
    return state(terms, {'0', '0', '0', '0', text(born), text(in_flight), text(now)})
  end
  for _, term in ipairs(terms) do
    if term.span > 0 then
      local back = math.min(returned(term), share * term.cost)
      if back > 0 then returns(term, returned(term) - back) end
      add(term, start, share * term.cost)
      term.ever = term.ever - back
      pay(term, start, share * term.expected)
    else
      seats = math.max(1, math.floor(share * term.cost + EPSILON))
    end
  end
  redis.call('ZADD', flight, text(now + lease), id)
  redis.call('PEXPIRE', flight, keep)
  others_of(id, seats - 1)
  save(terms, turn, born, keep)
  return state(terms, {'1', text(start), text(share), text(seats), text(born), text(in_flight + seats), text(now)})
end

local function amend() -- corrects a block by what its calls cost, and sets the places that it still needs
  local id, keep, at, wanted, count = given[3], given[4], argument(5), argument(6), argument(7)
  if not redis.call('ZSCORE', flight, id) then return {'0'} end
  others_of(id, math.max(0, wanted - 1))
  if wanted == 0 then redis.call('ZREM', flight, id) end
  for i = 8, 7 + 2 * count, 2 do
    local term = {key = given[i]}
    returns(term, returned(term) + argument(i + 1))
  end
  return correct(8 + 2 * count, keep, at)
end

local function delay()
  local id, keep, at, to = given[3], given[4], argument(5), argument(6)
  if not redis.call('ZSCORE', flight, id) then return {'0'} end
  local terms = {}
  for i = 7, #given, 4 do
    terms[#terms + 1] = {key = given[i], span = argument(i + 1), slot = argument(i + 2), cost = argument(i + 3)}
  end
  local _, turn, born = load_terms(terms)
  for _, term in ipairs(terms) do
    forget(term)
    local slot = math.floor(at / term.slot)
    if slot >= term.old and slot <= term.new then
      add(term, at, -term.cost)
      add(term, to, term.cost)
    end
  end
  save(terms, turn, born, keep)
  return {'1'}
end

local function hold()
  local held = tonumber(redis.call('HGET', books, 'held') or '0')
  redis.call('HSET', books, 'held', text(math.max(held, now + argument(3))))
  if redis.call('PTTL', books) < argument(4) then redis.call('PEXPIRE', books, given[4]) end
  return {'1'}
end

local function rest()
  local name, duration, keep = given[3], argument(4), argument(5)
  if duration > 0 then
    redis.call('HSET', rests, name, text(now + duration))
    if redis.call('PTTL', rests) < keep then redis.call('PEXPIRE', rests, given[5]) end
  else
    redis.call('HDEL', rests, name)
  end
  return {'1'}
end

local function resting(reply)
  local found, names, ends = redis.call('HGETALL', rests), {}, {}
  for i = 1, #found, 2 do
    names[#names + 1], ends[found[i]] = found[i], tonumber(found[i + 1])
  end
  table.sort(names)
  for _, name in ipairs(names) do
    if ends[name] > now then reply[#reply + 1], reply[#reply + 2] = name, text(ends[name] - now) end
  end
  return reply
end

local function restore()
  local keep, lease, known, away, count = given[3], argument(4), argument(5), argument(6), argument(7)
  opens()
  fly(8, count, now + lease, keep)
  local terms, at = {}, 8 + count
  while at <= #given do
    local term = {key = given[at], span = argument(at + 1), slot = argument(at + 2), rate = argument(at + 3), debt = argument(at + 4), charges = {}}
    local charges = argument(at + 5)
    at = at + 6
    for _ = 1, charges do
      term.charges[#term.charges + 1] = {argument(at), argument(at + 1)}
      at = at + 2
    end
    terms[#terms + 1] = term
  end
  local _, turn, born = load_terms(terms)
  if born == 0 then born = now end
  for _, term in ipairs(terms) do
    forget(term)
    for _, charge in ipairs(term.charges) do
      if charge[1] < term.span and (born ~= known or charge[1] <= away) then add(term, now - charge[1], charge[2]) end
    end
    if term.rate > 0 then term.paid = math.max(term.paid, now + term.debt) end
  end
  save(terms, turn, born, keep)
  return {text(born)}
end

local function split(demands)
  local names, total = {}, 0
  for name in pairs(demands) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do total = total + demands[name] end
  local least = total > 0 and total / (4 * #names) or 1
  local weights = least
  for _, name in ipairs(names) do weights = weights + math.max(demands[name], least) end
  local shares = {}
  for _, name in ipairs(names) do shares[name] = math.max(demands[name], least) / weights end
  return shares, least / weights, #names
end

local function write(fields)
  local flat = {}
  for field, value in pairs(fields) do
    flat[#flat + 1], flat[#flat + 2] = field, text(value)
    if #flat >= 1000 then
      redis.call('HSET', members, unpack(flat))
      flat = {}
    end
  end
  if #flat > 0 then redis.call('HSET', members, unpack(flat)) end
end

local function share_out(current, epoch)
  local fields, demands = {}, {}
  local all = redis.call('HGETALL', members)
  for i = 1, #all, 2 do fields[all[i]] = tonumber(all[i + 1]) end
  for field, value in pairs(fields) do
    local who = string.sub(field, 3)
    if string.sub(field, 1, 2) == 'd:' and now - fields['t:' .. who] <= 3 * epoch then demands[who] = value end
  end
  local following = fields['epoch'] == current - 1
  local shares, least, count = split(demands)
  local new, newcomers = {epoch = current, least = least, count = count}, 0
  for who in pairs(shares) do
    if not fields['s:' .. who] then newcomers = newcomers + 1 end
  end
  for who, share in pairs(shares) do
    local before = share -- without a previous table; else newcomers divide what it reserved for an unknown process
    if following then before = fields['s:' .. who] or fields['least'] / newcomers end
    new['d:' .. who], new['t:' .. who], new['s:' .. who], new['p:' .. who] = demands[who], fields['t:' .. who], share, before
  end
  redis.call('DEL', members)
  write(new)
end

local function report()
  local name, demand, epoch, keep, lease, count = given[3], given[4], argument(5), given[6], argument(7), argument(8)
  opens()
  local current = math.floor(now / epoch)
  redis.call('HSET', members, 'd:' .. name, demand, 't:' .. name, text(now))
  if current > tonumber(redis.call('HGET', members, 'epoch') or '-1') then share_out(current, epoch) end
  redis.call('PEXPIRE', members, keep)
  local left = redis.call('PTTL', books)
  if left >= 0 and left < tonumber(keep) then redis.call('PEXPIRE', books, keep) end
  fly(9, count, now + lease, keep)
  local in_flight = land()
  local terms = {}
  for i = 9 + count, #given, 3 do terms[#terms + 1] = {key = given[i], span = argument(i + 1), slot = argument(i + 2)} end
  local until_, turn, born = load_terms(terms)
  for _, term in ipairs(terms) do forget(term) end
  if born > 0 then save(terms, turn, born) end
  local found = redis.call('HMGET', members, 's:' .. name, 'p:' .. name, 'least', 'count')
  local reply = {found[1] or '', found[2] or '', found[3], found[4], text(born), text(now), text(until_ - now), text(in_flight), text(#terms)}
  return resting(state(terms, reply))
end

local operations = {admit = admit, also = admit, settle = settle, block = block, amend = amend, delay = delay, hold = hold, rest = rest, restore = restore, report = report}

-- Several operations in one call. Each has its name, the index of its account among the keys, its number of arguments, and these.
-- `also` is skipped if an earlier claim of the same call was refused.
function operations.several()
  local replies, refused, at = {}, {}, 3
  while at <= #ARGV do
    local last, count = 6 * tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    books, flight, members, rests, wants, since = KEYS[last - 5], KEYS[last - 4], KEYS[last - 3], KEYS[last - 2], KEYS[last - 1], KEYS[last]
    given = {ARGV[at], ARGV[2]}
    for i = 1, count do given[2 + i] = ARGV[at + 2 + i] end
    local reply = given[1] == 'also' and refused[given[3]] and {''} or operations[given[1]]()
    if reply[1] == '0' then refused[given[3]] = true end
    replies[#replies + 1] = reply
    at = at + 3 + count
  end
  return replies
end

return operations[ARGV[1]]()
