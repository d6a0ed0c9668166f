import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Base64;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Verifies a delivery that is signed by "sign standard". Java 11, no library.
 * usage: java Verify.java &lt;secret> &lt;webhook-id> &lt;webhook-timestamp> &lt;webhook-signature> &lt;body
 */
public class Verify {
    /** The body is as it came, before anything has parsed it. */
    static boolean genuine(String secret, String id, String timestamp, String signatures, byte[] body) throws Exception {
        if (!timestamp.matches("[0-9]{1,18}") || Math.abs(System.currentTimeMillis() / 1000 - Long.parseLong(timestamp)) > 300) {
            return false; // somebody may have recorded it
        }
        byte[] key = Base64.getDecoder().decode(secret.replaceFirst("^whsec_", ""));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
        byte[] right = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes(StandardCharsets.UTF_8);
        // Several may stand there while a secret changes; one must be right.
        for (String signature : signatures.split(" ")) {
            if (MessageDigest.isEqual(right, signature.getBytes(StandardCharsets.UTF_8))) {
                return true;
            }
        }
        return false;
    }

    public static void main(String[] args) throws Exception {
        System.exit(genuine(args[0], args[1], args[2], args[3], System.in.readAllBytes()) ? 0 : 1);
    }
}
