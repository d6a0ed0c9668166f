// Verifies a delivery that is signed by "sign standard". .NET, or Mono; no package.
// usage: Verify <secret> <webhook-id> <webhook-timestamp> <webhook-signature> <body
using System;
using System.IO;
using System.Security.Cryptography;
using System.Text;

static class Verify
{
    // body is as it came, before anything has parsed it.
    static bool Genuine(string secret, string id, string timestamp, string signatures, byte[] body)
    {
        long sent;
        if (!long.TryParse(timestamp, System.Globalization.NumberStyles.None, null, out sent)
            || Math.Abs(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - sent) > 300)
            return false; // somebody may have recorded it
        byte[] key = Convert.FromBase64String(secret.StartsWith("whsec_", StringComparison.Ordinal) ? secret.Substring(6) : secret);
        byte[] head = Encoding.UTF8.GetBytes(id + "." + timestamp + ".");
        byte[] signed = new byte[head.Length + body.Length];
        head.CopyTo(signed, 0);
        body.CopyTo(signed, head.Length);
        string right;
        using (var mac = new HMACSHA256(key))
            right = "v1," + Convert.ToBase64String(mac.ComputeHash(signed));
        // Several may stand there while a secret changes; one must be right.
        foreach (string signature in signatures.Split(' '))
            if (Same(signature, right))
                return true;
        return false;
    }

    // Same takes as long for a wrong text as for the right one. With .NET, use
    // CryptographicOperations.FixedTimeEquals.
    static bool Same(string a, string b)
    {
        int difference = a.Length ^ b.Length;
        for (int i = 0; i < a.Length && i < b.Length; i++)
            difference |= a[i] ^ b[i];
        return difference == 0;
    }

    static int Main(string[] args)
    {
        var body = new MemoryStream();
        Console.OpenStandardInput().CopyTo(body);
        return Genuine(args[0], args[1], args[2], args[3], body.ToArray()) ? 0 : 1;
    }
}
