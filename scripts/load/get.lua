-- GET of a random key.
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local common = dofile(here .. "common.lua")
local gets

setup = common.setup
done = common.done

function init()
  common.seed()
  gets = common.all(common.get)
end

function request()
  return gets[common.random_key()]
end
