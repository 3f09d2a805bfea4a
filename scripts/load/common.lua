-- Keys, values and requests that the wrk scripts share.
-- KEYS: how many keys there are (5000).

local M = {}

M.keys = tonumber(os.getenv("KEYS") or "5000")

local threads = 0

-- Gives each thread a number, from which it seeds its random choices.
function M.setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function M.seed()
  math.randomseed(os.time() * 64 + (id or 0))
end

function M.random_key()
  return math.random(0, M.keys - 1)
end

function M.get(n)
  return wrk.format("GET", "/get?key=key-" .. n)
end

-- 128 bytes that tell whose value they are.
function M.value(n)
  local head = "value of key-" .. n .. " "
  return head .. string.rep("v", 128 - #head)
end

function M.put(n)
  local body = '{"key":"key-' .. n .. '","value":"' .. M.value(n) .. '"}'
  return wrk.format("POST", "/put", { ["Content-Type"] = "application/json" }, body)
end

-- Every key's request, made once: the client should not be what is measured.
function M.all(make)
  local requests = {}
  for n = 0, M.keys - 1 do
    requests[n] = make(n)
  end
  return requests
end

-- wrk counts every status above 399 as an error of status.
-- COUNTS: a file for the figures, a name or a latency in microseconds and a count in each line.
function M.done(summary, latency)
  local e = summary.errors
  local counts = os.getenv("COUNTS")
  if counts then
    local file = assert(io.open(counts, "w"))
    file:write("requests ", summary.requests, "\nmicros ", summary.duration, "\n")
    for _, kind in ipairs({ "connect", "read", "write", "status", "timeout" }) do
      file:write(kind, " ", e[kind], "\n")
    end
    for i = 1, #latency do
      file:write(string.format("%d %d\n", latency(i)))
    end
    file:close()
  end
  io.write(string.format(
    "answers: %d, errors: %d (connect %d, read %d, write %d, status %d, timeout %d)\n",
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    e.connect, e.read, e.write, e.status, e.timeout))
end

return M
