import java.io.IOException;
import java.net.URI;
import java.net.http.*;
import java.time.Duration;

public class Send {
    static final String RELAY = "http://localhost:4665";
    static final HttpClient client = HttpClient.newHttpClient();

    /** Returns what the relay answered once the event is safe with it. */
    static String send(String type, String json, String key) throws InterruptedException {
        var request = HttpRequest.newBuilder(URI.create(RELAY + "/v1/events/" + type))
            .header("Content-Type", "application/json").header("Idempotency-Key", key)
            .timeout(Duration.ofSeconds(15)).POST(HttpRequest.BodyPublishers.ofString(json)).build();
        for (int attempt = 0; attempt < 10; attempt++) {
            long wait = 1L << attempt;
            try {
                var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
                int status = answer.statusCode();
                if (status == 202) return answer.body();
                if (status < 500 && status != 408 && status != 429) throw new IllegalStateException(answer.body()); // a repeat would not help
                wait = answer.headers().firstValueAsLong("Retry-After").orElse(wait);
            } catch (IOException noAnswer) {
                // It may be stored or not, and the key makes a repeat harmless.
            }
            Thread.sleep(wait * 1000);
        }
        throw new IllegalStateException("the relay did not take the event");
    }

    public static void main(String[] args) throws InterruptedException {
        System.out.print(send("order.paid", "{\"order\":42}", "order-42-paid"));
    }
}
