-- What wrk says at its end, in two lines that demo.sh reads. Each request is a connection of its own,
-- because the server closes it.
wrk.headers["Connection"] = "close"
done = function(summary, latency, requests)
   local e = summary.errors
   io.write(string.format("RESULT %d %d %d %d\n", summary.requests, e.connect,
            e.read + e.write, e.timeout))
   io.write(string.format("LONGEST %d\n", latency.max / 1000))
end
