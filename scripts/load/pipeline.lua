-- GET of random keys, 16 requests in each write.
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local common = dofile(here .. "common.lua")
local DEPTH = 16
local batches

setup = common.setup
done = common.done

function init()
  common.seed()
  local gets = common.all(common.get)
  batches = common.all(function()
    local batch = {}
    for i = 1, DEPTH do
      batch[i] = gets[common.random_key()]
    end
    return table.concat(batch)
  end)
end

function request()
  return batches[common.random_key()]
end
