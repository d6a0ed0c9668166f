require "json"
require "net/http"

RELAY = "http://localhost:4665"

# Returns the id of the event once it is safe with the relay.
def send_event(type, data, key)
  headers = { "Content-Type" => "application/json", "Idempotency-Key" => key }
  10.times do |attempt|
    wait = 2**attempt
    begin
      answer = Net::HTTP.post(URI("#{RELAY}/v1/events/#{type}"), data.to_json, headers)
      return JSON.parse(answer.body)["id"] if answer.code == "202"

      raise answer.body.to_s if answer.code < "500" && !%w[408 429].include?(answer.code) # a repeat would not help
      wait = Integer(answer["Retry-After"] || wait)
    rescue IOError, SystemCallError, Timeout::Error, Net::HTTPBadResponse
      # No answer: it may be stored or not, and the key makes a repeat harmless.
    end
    sleep wait
  end
  raise "the relay did not take the event"
end

puts send_event("order.paid", { order: 42 }, "order-42-paid")
