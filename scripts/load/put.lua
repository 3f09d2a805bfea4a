-- PUT of a random key.
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local common = dofile(here .. "common.lua")
local puts

setup = common.setup
done = common.done

function init()
  common.seed()
  puts = common.all(common.put)
end

function request()
  return puts[common.random_key()]
end
