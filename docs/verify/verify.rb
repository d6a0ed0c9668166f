# Verifies a delivery that is signed by "sign standard". Ruby 2.7, no gem.
# usage: ruby verify.rb <secret> <webhook-id> <webhook-timestamp> <webhook-signature> <body
require "openssl"

# body is as it came, before anything has parsed it.
def genuine?(secret, id, timestamp, signatures, body)
  return false unless timestamp.match?(/\A\d+\z/) && (Time.now.to_i - timestamp.to_i).abs <= 300 # somebody may have recorded it

  key = secret.delete_prefix("whsec_").unpack1("m")
  mac = OpenSSL::HMAC.digest("SHA256", key, "#{id}.#{timestamp}.".b + body.b)
  right = "v1," + [mac].pack("m0")
  # Several may stand there while a secret changes; one must be right. Digests are compared, so
  # that the time that it takes tells nothing.
  digest = ->(text) { OpenSSL::Digest.digest("SHA256", text) }
  signatures.split(" ").any? { |s| digest.(s) == digest.(right) }
end

exit(genuine?(*ARGV[0, 4], $stdin.binmode.read) ? 0 : 1)
