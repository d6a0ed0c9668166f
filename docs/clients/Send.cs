using System;
using System.Net.Http;
using System.Text;
using System.Threading.Tasks;

static class Send
{
    const string Relay = "http://localhost:4665";
    static readonly HttpClient client = new HttpClient { Timeout = TimeSpan.FromSeconds(15) };

    /// <summary>Returns what the relay answered once the event is safe with it.</summary>
    static async Task<string> SendAsync(string type, string json, string key)
    {
        for (int attempt = 0; attempt < 10; attempt++)
        {
            var wait = TimeSpan.FromSeconds(1 << attempt);
            try
            {
                var request = new HttpRequestMessage(HttpMethod.Post, Relay + "/v1/events/" + type);
                request.Content = new StringContent(json, Encoding.UTF8, "application/json");
                request.Headers.Add("Idempotency-Key", key);
                var answer = await client.SendAsync(request);
                var body = await answer.Content.ReadAsStringAsync();
                int status = (int)answer.StatusCode;
                if (status == 202) return body;
                if (status < 500 && status != 408 && status != 429) throw new InvalidOperationException(body); // a repeat would not help
                wait = answer.Headers.RetryAfter?.Delta ?? wait;
            }
            catch (HttpRequestException) { } // no answer: it may be stored or not, and the key makes a repeat harmless
            catch (TaskCanceledException) { } // none in time
            await Task.Delay(wait);
        }
        throw new TimeoutException("the relay did not take the event");
    }

    static void Main()
    {
        Console.Write(SendAsync("order.paid", "{\"order\":42}", "order-42-paid").GetAwaiter().GetResult());
    }
}
