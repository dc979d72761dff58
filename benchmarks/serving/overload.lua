-- wrk's script of the scenario twice-the-load: ARGUMENTS are a rate per second and the file of a body.
-- With a rate, requests leave on a schedule of their own, whatever became of those before them: each
-- connection that is free takes the next moment of the schedule. Rate 0 asks as soon as answered.
-- Each request carries the moment it left as X-Request-Id, which comes back: so times are by status.
-- What left in the first two seconds, while the connections are opened, does not count.

local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *);")
local moment = ffi.new("moment")
local function now() -- in microseconds
  ffi.C.clock_gettime(1, moment)
  return tonumber(moment.s) * 1e6 + tonumber(moment.ns) / 1e3
end

local head, tail, every, due
local WARM = 2e6
local first, began, ended
local seen = {} -- by status: how many, and how many by steps of 0.1 ms

function init(arguments)
  local rate = tonumber(arguments[1])
  local body = io.open(arguments[2], "rb"):read("*a")
  head = "POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    .. "Content-Length: " .. #body .. "\r\nX-Request-Id: "
  tail = "\r\n\r\n" .. body
  if rate > 0 then
    every = 1e6 / rate
    function delay()
      local at = now()
      due = (due or at) + every
      return math.max(0, math.floor((due - at) / 1000 + 0.5))
    end
  end
end

function request()
  return head .. string.format("%.0f", now()) .. tail
end

function response(status, headers)
  local at, left = now(), tonumber(headers["x-request-id"])
  first = first or left
  if left < first + WARM then return end
  began, ended = began or left, at
  local found = seen[status]
  if not found then
    found = { count = 0, steps = {} }
    seen[status] = found
  end
  local step = math.floor((at - left) / 100)
  found.count = found.count + 1
  found.steps[step] = (found.steps[step] or 0) + 1
end

local function percentile(found, share)
  local steps = {}
  for step in pairs(found.steps) do steps[#steps + 1] = step end
  table.sort(steps)
  local left = found.count * share
  for _, step in ipairs(steps) do
    left = left - found.steps[step]
    if left <= 0 then return (step + 1) / 10 end
  end
  return 0
end

local function report()
  local lines = { string.format("SECONDS %.6f", (ended - began) / 1e6) }
  for status, found in pairs(seen) do
    lines[#lines + 1] = string.format("STATUS %d %d %.1f %.1f %.1f", status, found.count,
      percentile(found, 0.5), percentile(found, 0.99), percentile(found, 1))
  end
  return table.concat(lines, "\n")
end

-- `done` runs in another interpreter than the rest, and wrk hands over a global that is a text.
setmetatable(_G, { __index = function(_, name) return name == "REPORT" and report() or nil end })

local asking
function setup(thread) asking = thread end

function done(summary)
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(asking:get("REPORT"), string.format("\nERRORS %d\n", lost))
end
