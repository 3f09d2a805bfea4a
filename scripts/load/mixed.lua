-- 70 % GET and 30 % PUT of random keys.
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local common = dofile(here .. "common.lua")
local gets, puts

setup = common.setup
done = common.done

function init()
  common.seed()
  gets = common.all(common.get)
  puts = common.all(common.put)
end

function request()
  local requests = math.random() < 0.7 and gets or puts
  return requests[common.random_key()]
end
