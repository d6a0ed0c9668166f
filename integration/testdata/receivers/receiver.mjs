// A receiver for each scheme and format, as the owner's documentation has it: the library is
// given the request as it came. It answers 200 where the library takes the request and finds
// in it what the test has sent, else 401 with the reason. The first line on standard output
// is the port.
import http from "node:http";
import { verifyRequest } from "@contentful/node-apps-toolkit";
import contentfulWebhookParser from "@last-rev/contentful-webhook-parser";
import { Webhooks } from "@octokit/webhooks";
import { HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";

const env = process.env;
const octokit = new Webhooks({ secret: env.TEXT });
const parse = contentfulWebhookParser.default ?? contentfulWebhookParser;
const stripe = new Stripe("sk_test_none");

const takes = {
  standard: ({ body, headers }) => {
    new Webhook(env.STANDARD).verify(body, headers);
    return true;
  },
  github: async ({ body, headers }) => {
    let seen;
    octokit.on("push", ({ payload }) => { seen = payload; });
    await octokit.verifyAndReceive({
      id: headers["x-github-delivery"], name: headers["x-github-event"], payload: body, signature: headers["x-hub-signature-256"],
    });
    return seen !== undefined;
  },
  stripe: ({ body, headers }) => stripe.webhooks.constructEvent(body, headers["stripe-signature"], env.TEXT) !== undefined,
  // In binary mode the SDK leaves the escapes of section 3.1.3.2 of the HTTP binding to its caller.
  cloudevents: ({ headers, body }) => {
    const event = HTTP.toEvent({ headers, body });
    return event.validate() && event.id === "A-1" && event.source === "/shop" && event.type === "Entry.publish" && decodeURIComponent(event.subject) === "Zoë" &&
      event.time === "2026-06-22T18:42:22.587Z" && event.sequence === "17" && event.data.sys.id === "e1" && event.datacontenttype === "application/json";
  },
  // A receiver of Contentful's webhooks: it wants the topic, and a body in which it finds its space.
  contentfulparser: ({ headers, body }) => {
    const found = parse({ contentful: { spaceId: "s1" } }, JSON.parse(body), headers);
    return found.action === "update" && found.type === "Entry" && found.env === "master" && found.itemId === "e1" && found.contentStates[0] === "production" &&
      headers["content-type"] === "application/vnd.contentful.management.v1+json";
  },
  contentful: ({ method, url, body, headers }) => verifyRequest(env.CONTENTFUL, { method, path: url, headers, body }, 30),
};

const server = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { method, url, headers } = request;
  const scheme = url.split(/[/?]/)[1];
  try {
    const taken = await takes[scheme]({ method, url, headers, body: Buffer.concat(chunks).toString() });
    response.writeHead(taken ? 200 : 401).end(taken ? "" : "not verified");
  } catch (error) {
    response.writeHead(401).end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume(); // its parent has ended
